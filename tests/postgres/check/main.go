// Program check decides whether the logs of several clients of a volume can be explained by one
// order of their calls in which each takes effect at one moment between its call and its answer
// (linearizability), with porcupine.
//
//	check [-limit 10s] LOG...
//
// It writes what it found as JSON. Exit: 0 linearizable, 1 not, 2 not decided within the limit or
// unreadable.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

type report struct {
	Calls     int            `json:"calls"`
	Worlds    int            `json:"worlds"`
	Succeeded map[string]int `json:"succeeded"` // by kind of call
	Failed    map[string]int `json:"failed"`    // by errno
	Unknown   int            `json:"unknown"`   // whether they were done
	LongestMs int64          `json:"longest_ms"`
	Illegal   []string       `json:"illegal"` // worlds
	Undecided []string       `json:"undecided"`
	Seconds   float64        `json:"seconds"`
}

func read(paths []string) ([]*call, error) {
	var calls []*call
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 1<<16), 1<<24)
		for lines.Scan() {
			c := &call{}
			if err := json.Unmarshal(lines.Bytes(), c); err != nil {
				return nil, fmt.Errorf("%s: %v: %s", path, err, lines.Text())
			}
			calls = append(calls, c)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %v", path, err)
		}
	}
	return calls, nil
}

// operations of one world. Calls whose outcome is not known never end; of a lock that may be held
// nobody knows either when the library gives it up.
func operations(calls []*call) []porcupine.Operation {
	var out []porcupine.Operation
	add := func(c *call, phase int, op string, end int64) {
		copied := *c
		copied.phase, copied.Op = phase, op
		out = append(out, porcupine.Operation{ClientId: c.Client, Input: &copied, Call: c.Call,
			Output: &copied, Return: end})
	}
	for _, c := range calls {
		end := c.Return
		if c.unknown() {
			end = math.MaxInt64
		}
		switch {
		case c.unknown() && (c.Op == "stat" || c.Op == "open" || c.Op == "list"):
		case c.Op == "link" && (c.Errno == 0 || c.unknown()):
			add(c, 1, c.Op, end)
			add(c, 2, c.Op, end)
		default:
			add(c, 0, c.Op, end)
			if c.unknown() && (c.Op == "flock" || c.Op == "setlk") {
				add(c, 0, "un"+c.Op, end)
			}
		}
	}
	return out
}

func modelOf(h *history) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return h.begin() },
		Step: func(s, input, output interface{}) (bool, interface{}) {
			next := h.step(s.(*state), input.(*call))
			return next != nil, next
		},
		Equal: func(a, b interface{}) bool { return a.(*state).equal(b.(*state)) },
		Hash:  func(s interface{}) uint64 { return s.(*state).hash },
	}
}

// explain names calls that no order explains: those that the longest order found leaves out.
func explain(world string, info porcupine.LinearizationInfo, calls []*call) {
	explained := map[int64]bool{}
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(explained) {
				explained = map[int64]bool{}
				for _, operation := range order {
					explained[operation.Input.(*call).id] = true
				}
			}
		}
	}
	fmt.Fprintf(os.Stderr, "world %s: %d of %d calls are explained; the first that are not, and "+
		"what surrounds them:\n", world, len(explained), len(calls))
	sort.Slice(calls, func(i, j int) bool { return calls[i].Return < calls[j].Return })
	for i, c := range calls {
		if explained[c.id] {
			continue
		}
		for _, near := range calls[max(0, i-12):min(len(calls), i+4)] {
			text, _ := json.Marshal(near)
			mark := " "
			if !explained[near.id] {
				mark = "*"
			}
			fmt.Fprintf(os.Stderr, "%s %s\n", mark, text)
		}
		return
	}
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func main() {
	limit := flag.Duration("limit", 20*time.Second, "for each world")
	flag.Parse()
	began := time.Now()
	calls, err := read(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	result := report{Calls: len(calls), Succeeded: map[string]int{}, Failed: map[string]int{},
		Illegal: []string{}, Undecided: []string{}}
	worlds := map[string][]*call{}
	for i, c := range calls {
		c.id = int64(i + 1)
		worlds[c.World] = append(worlds[c.World], c)
		if c.Errno == 0 {
			result.Succeeded[c.Op]++
		} else {
			result.Failed[c.Errno.Error()]++
		}
		if c.unknown() {
			result.Unknown++
		}
		if took := (c.Return - c.Call) / 1e6; took > result.LongestMs {
			result.LongestMs = took
		}
	}
	result.Worlds = len(worlds)
	var mutex sync.Mutex
	var group sync.WaitGroup
	slots := make(chan bool, 2)
	for world, calls := range worlds {
		group.Add(1)
		go func(world string, calls []*call) {
			defer group.Done()
			slots <- true
			defer func() { <-slots }()
			history := operations(calls)
			model := modelOf(study(history))
			verdict := porcupine.CheckOperationsTimeout(model, history, *limit)
			mutex.Lock()
			defer mutex.Unlock()
			switch verdict {
			case porcupine.Ok:
				return
			case porcupine.Illegal:
				result.Illegal = append(result.Illegal, world)
			case porcupine.Unknown:
				result.Undecided = append(result.Undecided, world)
			}
			if len(result.Illegal)+len(result.Undecided) == 1 {
				_, info := porcupine.CheckOperationsVerbose(model, history, *limit/4)
				explain(world, info, calls)
			}
		}(world, calls)
	}
	group.Wait()
	result.Seconds = time.Since(began).Seconds()
	text, _ := json.MarshalIndent(result, "", "  ")
	fmt.Println(string(text))
	if len(result.Illegal) > 0 {
		os.Exit(1)
	}
	if len(result.Undecided) > 0 {
		os.Exit(2)
	}
}

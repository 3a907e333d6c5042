package main

// The model: what a small tree of files and directories does, one call at a time.
//
// Errors: each call has a set of errors that the state justifies, whatever their order in POSIX's
// pages; a call that failed must have failed with one of them, and one that succeeded must have had
// none. A call whose outcome is not known (see unknown()) takes effect at any time after it was
// made, if it can, or never, which is the same as at the end.

import (
	"fmt"
	"hash/maphash"
	"sort"
	"strings"
	"syscall"

	"github.com/anishathalye/porcupine"
)

// call is a line of a client's log.
type call struct {
	Client int    `json:"c"`
	Call   int64  `json:"t"`
	Return int64  `json:"r"`
	Op     string `json:"op"`
	World  string `json:"w"`

	Dir    string `json:"d"` // by path, below the world
	Name   string `json:"n"`
	Dir2   string `json:"d2"`
	Name2  string `json:"n2"`
	DirNo  int64  `json:"di"` // by number; 1: the world's directory
	DirNo2 int64  `json:"di2"`
	Flags  uint   `json:"flags"`

	File      int64  `json:"i"` // the file of an open handle
	Record    int64  `json:"rec"`
	Length    int64  `json:"len"`
	From      int64  `json:"from"`
	Exclusive int    `json:"ex"`
	Owner     string `json:"o"`
	Owner2    string `json:"o2"`

	Errno   syscall.Errno    `json:"e"`
	Why     string           `json:"why"`
	Ino     int64            `json:"ino"`
	IsDir   int              `json:"dir"`
	Nlink   int              `json:"nlink"`
	Size    int64            `json:"size"`
	Records []int64          `json:"recs"`
	Names   map[string]int64 `json:"names"`

	id    int64 // its number in the history, from 1
	phase int   // of a link by path: 1 finds the file, 2 gives it its name
}

const root = 1

const (
	noReplace = 1
	exchange  = 2
)

type lock struct {
	owner     string
	record    bool // by fcntl, else by flock
	exclusive bool
	from, end int64
}

func (l lock) excludes(o lock) bool {
	return l.owner != o.owner && l.record == o.record && (l.exclusive || o.exclusive) &&
		l.from < o.end && o.from < l.end
}

// node is a file or a directory. Not changed once it is in a state.
type node struct {
	dir     bool
	parent  int64            // directories
	names   map[string]int64 // directories
	nlink   int              // files
	size    int64
	records []int64
	locks   []lock
	left    int // calls of the history that may still speak of it by number
	hash    uint64
}

// state: all nodes by inode number. One whose number its maker was not told has a number below zero
// until somebody sees its own.
type state struct {
	nodes map[int64]*node
	found map[int64]int64 // by call: the file that the first phase of a link found
	hash  uint64
}

var seed = maphash.MakeSeed()

func hashOf(text string) uint64 { return maphash.String(seed, text) }

func (n *node) text() string {
	var out strings.Builder
	fmt.Fprint(&out, n.dir, n.parent, n.nlink, n.size, n.left, n.records)
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprint(&out, " ", name, "=", n.names[name])
	}
	locks := append([]lock(nil), n.locks...)
	sort.Slice(locks, func(i, j int) bool {
		return fmt.Sprint(locks[i]) < fmt.Sprint(locks[j])
	})
	fmt.Fprint(&out, locks)
	return out.String()
}

// change is a state in the making: nodes are copied before they are changed.
type change struct {
	state
	own map[int64]bool
}

func (s *state) begin() *change {
	nodes := make(map[int64]*node, len(s.nodes)+1)
	for ino, n := range s.nodes {
		nodes[ino] = n
	}
	found := make(map[int64]int64, len(s.found))
	for id, ino := range s.found {
		found[id] = ino
	}
	return &change{state{nodes, found, 0}, map[int64]bool{}}
}

func (c *change) mutable(ino int64) *node {
	n := c.nodes[ino]
	if n == nil || c.own[ino] {
		return n
	}
	copied := *n
	if n.names != nil {
		copied.names = make(map[string]int64, len(n.names))
		for name, child := range n.names {
			copied.names[name] = child
		}
	}
	copied.records = append([]int64(nil), n.records...)
	copied.locks = append([]lock(nil), n.locks...)
	c.nodes[ino] = &copied
	c.own[ino] = true
	return &copied
}

func (c *change) add(ino int64, n *node) {
	c.nodes[ino] = n
	c.own[ino] = true
}

// finish drops what nothing can speak of any more.
func (c *change) finish() *state {
	for ino, n := range c.nodes {
		if c.own[ino] && ino != root && !n.dir && n.nlink == 0 && n.left <= 0 && ino > 0 &&
			len(n.locks) == 0 {
			delete(c.nodes, ino)
		}
		if c.own[ino] && ino != root && n.dir && n.parent == 0 {
			delete(c.nodes, ino)
		}
	}
	for ino, n := range c.nodes {
		if c.own[ino] {
			n.hash = hashOf(fmt.Sprint(ino, ":", n.text()))
		}
		c.hash ^= n.hash
	}
	return &c.state
}

func (s *state) equal(o *state) bool {
	if s.hash != o.hash || len(s.nodes) != len(o.nodes) || len(s.found) != len(o.found) {
		return false
	}
	for ino, n := range s.nodes {
		other := o.nodes[ino]
		if other == nil || (n != other && n.text() != other.text()) {
			return false
		}
	}
	for id, ino := range s.found {
		if o.found[id] != ino {
			return false
		}
	}
	return true
}

// history is what is known of all calls of one world beforehand.
type history struct {
	mentions map[int64]int  // how often calls speak of a file by number
	made     map[int64]bool // by a call that told the number
}

func study(operations []porcupine.Operation) *history {
	h := &history{map[int64]int{}, map[int64]bool{}}
	for _, operation := range operations {
		c := operation.Input.(*call)
		if c.File != 0 {
			h.mentions[c.File]++
		}
		if (c.Op == "create" || c.Op == "mkdir") && c.Ino != 0 {
			h.made[c.Ino] = true
		}
	}
	return h
}

func (h *history) begin() *state {
	c := &change{state{map[int64]*node{}, map[int64]int64{}, 0}, map[int64]bool{}}
	c.add(root, &node{dir: true, parent: root, names: map[string]int64{}})
	return c.finish()
}

type errors map[syscall.Errno]bool

func (e errors) add(list ...syscall.Errno) {
	for _, errno := range list {
		e[errno] = true
	}
}

// directory finds what a call says by path or number; 0 and the reasons if there is none.
func (s *state) directory(path string, number int64, e errors) int64 {
	if number != 0 {
		// The number of a directory that is gone; "not found" where it went in the meantime.
		if n := s.nodes[number]; n == nil || !n.dir {
			e.add(syscall.ESTALE, syscall.ENOENT)
			return 0
		}
		return number
	}
	at := int64(root)
	if path == "" {
		return at
	}
	for _, name := range strings.Split(path, "/") {
		next, ok := s.nodes[at].names[name]
		if !ok {
			e.add(syscall.ENOENT)
			return 0
		}
		if !s.nodes[next].dir {
			e.add(syscall.ENOTDIR)
			return 0
		}
		at = next
	}
	return at
}

// child is the inode of a name, 0 if there is none.
func (s *state) child(dir int64, name string) int64 {
	if dir == 0 {
		return 0
	}
	return s.nodes[dir].names[name]
}

// isAbove: `ino` is `below` or one of its ancestors.
func (s *state) isAbove(ino, below int64) bool {
	for at := below; ; at = s.nodes[at].parent {
		if at == ino {
			return true
		}
		if at == root {
			return false
		}
	}
}

// see makes the inode number known of what a call has made that did not tell it. False: it is another's.
func (h *history) see(c *change, at, number int64) bool {
	if at == number {
		return true
	}
	if at >= 0 || h.made[number] || c.nodes[number] != nil {
		return false
	}
	n := c.mutable(at)
	n.left = h.mentions[number]
	delete(c.nodes, at)
	c.add(number, n)
	for ino, other := range c.nodes {
		if other.parent == at {
			c.mutable(ino).parent = number
		}
		for name, child := range other.names {
			if child == at {
				c.mutable(ino).names[name] = number
			}
		}
	}
	for id, ino := range c.found {
		if ino == at {
			c.found[id] = number
		}
	}
	return true
}

// unknown: whether it was done is not known.
func (c *call) unknown() bool {
	switch c.Errno {
	case syscall.EIO, syscall.ETIMEDOUT, syscall.ECANCELED, syscall.ENOSPC, syscall.EROFS:
		return true
	}
	return false
}

// step is the model: the state after the call, nil if there is no such call in this state.
func (h *history) step(s *state, c *call) *state {
	next := s.begin()
	e := errors{}
	var effect func() bool // carries out a success; false: what it told is not so
	switch c.Op {
	case "create", "mkdir":
		effect = h.add(next, c, e)
	case "unlink", "rmdir":
		effect = h.remove(next, c, e)
	case "rename":
		effect = h.rename(next, c, e)
	case "link":
		effect = h.link(next, c, e)
	case "stat", "open":
		effect = h.look(next, c, e)
	case "list":
		effect = h.list(next, c, e)
	default:
		effect = h.handle(next, c, e)
	}
	if c.unknown() {
		if len(e) == 0 {
			effect()
		}
		return next.finish()
	}
	if c.Errno == syscall.EBUSY { // too many conflicts: it was not done, whatever the state
		return next.finish()
	}
	if c.Errno != 0 {
		if !e[c.Errno] {
			return nil
		}
		return next.finish()
	}
	if len(e) != 0 || !effect() {
		return nil
	}
	return next.finish()
}

func (h *history) add(s *change, c *call, e errors) func() bool {
	dir := s.directory(c.Dir, c.DirNo, e)
	if dir != 0 && s.child(dir, c.Name) != 0 {
		e.add(syscall.EEXIST)
	}
	return func() bool {
		ino := c.Ino
		if ino == 0 { // not told
			ino = -c.id
		} else if s.nodes[ino] != nil {
			return false // a number is never used twice
		}
		n := &node{nlink: 1, left: h.mentions[ino]}
		if c.Op == "mkdir" {
			n = &node{dir: true, parent: dir, names: map[string]int64{}}
		}
		s.add(ino, n)
		s.mutable(dir).names[c.Name] = ino
		return true
	}
}

func (s *change) removeName(dir int64, name string) {
	ino := s.nodes[dir].names[name]
	delete(s.mutable(dir).names, name)
	n := s.mutable(ino)
	if n.dir {
		n.parent = 0
	} else {
		n.nlink--
	}
}

func (h *history) remove(s *change, c *call, e errors) func() bool {
	dir := s.directory(c.Dir, c.DirNo, e)
	ino := s.child(dir, c.Name)
	if dir != 0 && ino == 0 {
		e.add(syscall.ENOENT)
	}
	if ino != 0 {
		n := s.nodes[ino]
		if c.Op == "unlink" && n.dir {
			e.add(syscall.EISDIR)
		}
		if c.Op == "rmdir" && !n.dir {
			e.add(syscall.ENOTDIR)
		}
		if c.Op == "rmdir" && n.dir && len(n.names) != 0 {
			e.add(syscall.ENOTEMPTY)
		}
	}
	return func() bool {
		s.removeName(dir, c.Name)
		return true
	}
}

func (h *history) rename(s *change, c *call, e errors) func() bool {
	from, to := s.directory(c.Dir, c.DirNo, e), s.directory(c.Dir2, c.DirNo2, e)
	source, target := s.child(from, c.Name), s.child(to, c.Name2)
	swap := c.Flags&exchange != 0
	if from != 0 && source == 0 || to != 0 && target == 0 && swap {
		e.add(syscall.ENOENT)
	}
	if target != 0 && c.Flags&noReplace != 0 {
		e.add(syscall.EEXIST)
	}
	if source != 0 && to != 0 && s.nodes[source].dir && s.isAbove(source, to) {
		e.add(syscall.EINVAL)
	}
	if swap && target != 0 && from != 0 && s.nodes[target].dir && s.isAbove(target, from) {
		e.add(syscall.EINVAL)
	}
	if source != 0 && target != 0 && source != target && !swap {
		switch {
		case s.nodes[source].dir && !s.nodes[target].dir:
			e.add(syscall.ENOTDIR)
		case !s.nodes[source].dir && s.nodes[target].dir:
			e.add(syscall.EISDIR)
		}
		if s.nodes[target].dir && len(s.nodes[target].names) != 0 {
			e.add(syscall.ENOTEMPTY)
		}
	}
	return func() bool {
		if source == target {
			return true // two names of one file: both stay
		}
		if target != 0 && !swap {
			s.removeName(to, c.Name2)
		}
		delete(s.mutable(from).names, c.Name)
		s.mutable(to).names[c.Name2] = source
		if s.nodes[source].dir {
			s.mutable(source).parent = to
		}
		if swap {
			s.mutable(from).names[c.Name] = target
			if s.nodes[target].dir {
				s.mutable(target).parent = from
			}
		}
		return true
	}
}

// link by path first finds the file, as Linux does, and then gives it another name; in between its
// first name may go.
func (h *history) link(s *change, c *call, e errors) func() bool {
	from := s.directory(c.Dir, c.DirNo, e)
	source := s.child(from, c.Name)
	if c.phase == 1 {
		if from != 0 && source == 0 {
			e.add(syscall.ENOENT)
		}
		return func() bool {
			s.found[c.id] = source
			return true
		}
	}
	if c.phase == 2 {
		for errno := range e {
			delete(e, errno)
		}
		var ok bool
		if source, ok = s.found[c.id]; !ok {
			e.add(syscall.ENOENT)
			source = 0
		}
		delete(s.found, c.id)
	} else if from != 0 && source == 0 {
		e.add(syscall.ENOENT)
	}
	to := s.directory(c.Dir2, c.DirNo2, e)
	if to != 0 && s.child(to, c.Name2) != 0 {
		e.add(syscall.EEXIST)
	}
	if source != 0 {
		if n := s.nodes[source]; n == nil || !n.dir && n.nlink == 0 {
			e.add(syscall.ENOENT)
		} else if n.dir {
			e.add(syscall.EPERM)
		}
	}
	return func() bool {
		s.mutable(source).nlink++
		s.mutable(to).names[c.Name2] = source
		return true
	}
}

func (h *history) look(s *change, c *call, e errors) func() bool {
	dir := s.directory(c.Dir, c.DirNo, e)
	ino := s.child(dir, c.Name)
	if dir != 0 && ino == 0 {
		e.add(syscall.ENOENT)
	}
	return func() bool {
		if c.unknown() {
			return true
		}
		if !h.see(s, ino, c.Ino) {
			return false
		}
		n := s.nodes[c.Ino]
		if c.Op == "open" {
			return !n.dir
		}
		if n.dir {
			return c.IsDir == 1 && c.Nlink == 2+s.subdirectories(n)
		}
		return c.IsDir == 0 && c.Nlink == n.nlink && c.Size == n.size
	}
}

func (s *state) subdirectories(n *node) int {
	count := 0
	for _, child := range n.names {
		if s.nodes[child].dir {
			count++
		}
	}
	return count
}

func (h *history) list(s *change, c *call, e errors) func() bool {
	dir := s.directory(c.Dir, c.DirNo, e)
	return func() bool {
		if c.unknown() {
			return true
		}
		if len(c.Names) != len(s.nodes[dir].names) {
			return false
		}
		for name, number := range c.Names {
			at, ok := s.nodes[dir].names[name]
			if !ok || !h.see(s, at, number) {
				return false
			}
		}
		return true
	}
}

// handle: calls on an open file.
func (h *history) handle(s *change, c *call, e errors) func() bool {
	n := s.mutable(c.File)
	if n == nil {
		return func() bool { return false } // opened before it was made
	}
	n.left--
	wanted := lock{c.Owner, c.Op == "setlk", c.Exclusive == 1, c.From, c.From + c.Length}
	if c.Length == 0 {
		wanted.end = 1 << 62
	}
	if c.Op == "flock" || c.Op == "setlk" {
		for _, held := range n.locks {
			if held.excludes(wanted) {
				e.add(syscall.EAGAIN)
			}
		}
	}
	release := func(owner string, record bool) {
		kept := n.locks[:0]
		for _, held := range n.locks {
			if held.owner != owner || held.record != record {
				kept = append(kept, held)
			}
		}
		n.locks = kept
	}
	return func() bool {
		switch c.Op {
		case "append":
			n.records = append(n.records, c.Record)
			n.size += c.Length
		case "read":
			return c.unknown() || fmt.Sprint(c.Records) == fmt.Sprint(n.records) && c.Size == n.size
		case "flock", "setlk":
			n.locks = append(n.locks, wanted)
		case "unflock":
			release(c.Owner, false)
		case "unsetlk":
			release(c.Owner, true)
		case "close":
			release(c.Owner, false)
			release(c.Owner2, true)
		default:
			return false
		}
		return true
	}
}

#include "io/executor.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/sanitizers.h"

using namespace skerry;

namespace {

int threads_named(const std::string& name) {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(task.path() / "comm");
    std::string line;
    if (std::getline(comm, line) && line == name) count++;
  }
  return count;
}

}  // namespace

TEST_CASE("executor: the pool runs every task before it is destroyed", "[io]") {
  std::atomic<int> ran{0};
  {
    auto pool = make_thread_pool("skerry-test", 3);
    for (int i = 0; i < 1000; i++) {
      pool->submit([&ran, &pool, i] {
        ran++;
        if (i % 100 == 0) pool->submit([&ran] { ran++; });
      });
    }
  }
  CHECK(ran == 1010);
}

TEST_CASE("executor: tasks run at the same time, on as many threads as asked for", "[io]") {
  std::mutex mutex;
  std::condition_variable all_here;
  std::set<std::thread::id> threads;
  {
    auto pool = make_thread_pool("skerry-test", 4);
    for (int i = 0; i < 4; i++) {
      pool->submit([&] {
        std::unique_lock lock(mutex);
        threads.insert(std::this_thread::get_id());
        all_here.notify_all();
        all_here.wait(lock, [&] { return threads.size() == 4; });
      });
    }
  }
  CHECK(threads.size() == 4);
  CHECK(threads.count(std::this_thread::get_id()) == 0);
}

TEST_CASE("executor: an unused pool has no threads", "[io]") {
  auto pool = make_thread_pool("skerry-idle", 4);
  CHECK(threads_named("skerry-idle") == 0);
  pool->submit([] {});
  while (threads_named("skerry-idle") != 4) std::this_thread::yield();
  pool.reset();
}

TEST_CASE("executor: threads are named and take no signal of the host", "[io]") {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  std::promise<std::pair<std::string, bool>> seen;
  auto pool = make_thread_pool("a-name-longer-than-the-kernel-allows", 1);
  pool->submit([&] {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    bool blocked = true;
    for (int s : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE})
      blocked = blocked && sigismember(&mask, s) == 1;
    seen.set_value({name, blocked});
  });
  auto [name, blocked] = seen.get_future().get();
  CHECK(name == "a-name-longer-t");
  CHECK(blocked);
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(sigismember(&after, SIGTERM) == sigismember(&before, SIGTERM));
}

TEST_CASE("executor: a task that throws harms no other", "[io]") {
  std::atomic<int> ran{0};
  {
    auto pool = make_thread_pool("skerry-test", 1);
    pool->submit([] { throw std::runtime_error("oops"); });
    pool->submit([&] { ran++; });
  }
  CHECK(ran == 1);
  auto inline_executor = make_inline_executor();
  inline_executor->submit([] { throw 1; });
  inline_executor->submit([&] { ran++; });
  CHECK(ran == 2);
}

TEST_CASE("executor: the first submit may come from many threads at once", "[io]") {
  for (int round = 0; round < 20; round++) {
    std::atomic<int> ran{0};
    {
      auto pool = make_thread_pool("skerry-test", 2);
      std::vector<std::thread> callers;
      for (int i = 0; i < 4; i++) callers.emplace_back([&] { pool->submit([&] { ran++; }); });
      for (auto& caller : callers) caller.join();
    }
    REQUIRE(ran == 4);
  }
}

#if SKERRY_TEST_FORKS_WITH_THREADS
TEST_CASE("executor: a forked child uses the pool it inherited", "[io]") {
  auto pool = make_thread_pool("skerry-test", 2);
  std::promise<void> started;
  pool->submit([&] { started.set_value(); });
  started.get_future().wait();
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(20);
    std::atomic<int> ran{0};
    for (int i = 0; i < 100; i++) pool->submit([&] { ran++; });
    pool.reset();
    _exit(ran == 100 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

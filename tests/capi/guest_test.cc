// A guest in someone else's process: what the library must not do there, and what it must.
#include <locale.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support.h"

namespace fs = std::filesystem;

namespace {

/// Uses about everything: files, queue, background work, errors.
void work(const TestVolume& test) {
  Client v(test.url);
  v.write("/small", "small");
  v.write("/big", pattern(6 << 20));
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  const std::string bytes = pattern(5 << 20);
  OK(skerry_pwrite(file, nullptr, bytes.data(), bytes.size(), 0));
  OK(skerry_fsync(file, nullptr));
  CHECK(read_all(file) == bytes);
  skerry_queue* queue = nullptr;
  OK(skerry_queue_create(v, 8, &queue));
  struct skerry_stat st {};
  skerry_request request{};
  request.struct_size = sizeof request;
  request.operation = SKERRY_OP_STAT;
  request.path = "/big";
  request.buffer = &st;
  CHECK(skerry_submit(queue, nullptr, &request, 1) == 1);
  skerry_completion done{};
  CHECK(skerry_wait(queue, &done, 1, 1, 30'000) == 1);
  skerry_queue_free(queue);
  FAILS(skerry_stat(v, nullptr, "/none", &st), ENOENT);
  skerry_volume* none = nullptr;
  CHECK(open_volume("sqlite:///none/none.db", {}, &none) < 0);
  CHECK(open_volume("nonsense", {}, &none) < 0);
  OK(skerry_close(file, nullptr));
  OK(v.close());
}

std::vector<std::string> ours(const std::vector<std::string>& threads) {
  std::vector<std::string> result;
  for (const auto& name : threads)
    if (name.rfind("skerry-", 0) == 0) result.push_back(name);
  return result;
}

}  // namespace

TEST_CASE("guest: nothing is printed", "[capi][guest]") {
  TestVolume test;
  const std::string out = test.folder.path() + "/out";
  const int sink = open(out.c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(sink >= 0);
  fflush(nullptr);
  const int saved[2] = {dup(1), dup(2)};
  dup2(sink, 1);
  dup2(sink, 2);
  work(test);
  fflush(nullptr);
  dup2(saved[0], 1);
  dup2(saved[1], 2);
  for (int fd : {saved[0], saved[1], sink}) close(fd);
  CHECK(fs::file_size(out) == 0);
}

TEST_CASE("guest: signals, folder, locale, environment, umask stay", "[capi][guest]") {
  TestVolume test;
  auto snapshot = [] {
    std::string all = fs::current_path().string() + "|" + setlocale(LC_ALL, nullptr) + "|";
    for (char** each = environ; *each != nullptr; each++) all += std::string(*each) + "|";
    for (int signal = 1; signal < NSIG; signal++) {
      struct sigaction action {};
      sigaction(signal, nullptr, &action);
      all += std::to_string(reinterpret_cast<uintptr_t>(action.sa_handler)) + ",";
    }
    sigset_t mask;
    sigprocmask(SIG_SETMASK, nullptr, &mask);
    for (int signal = 1; signal < NSIG; signal++) all += sigismember(&mask, signal) ? '1' : '0';
    const mode_t bits = umask(022);
    umask(bits);
    return all + std::to_string(bits);
  };
  const std::string before = snapshot();
  work(test);
  CHECK(snapshot() == before);
}

TEST_CASE("guest: threads are few, named, deaf to signals, and gone after close", "[capi][guest]") {
  TestVolume test({"io_threads=3"});
  const auto idle = ours(thread_names());
  // The heartbeat, and on PostgreSQL the one that hears of others; more start when they are needed.
  const size_t always = std::getenv("SKERRY_TEST_POSTGRES") == nullptr ? 1 : 2;
  CHECK(idle.size() <= always);
  test.client.write("/big", pattern(6 << 20));
  const auto busy = ours(thread_names());
  const size_t requests = std::getenv("SKERRY_TEST_S3") == nullptr ? 0 : 1;
  CHECK(busy.size() <= always + requests + 3);
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream in(task.path() / "status");
    std::string line, name, blocked;
    while (std::getline(in, line)) {
      if (line.rfind("Name:", 0) == 0) name = line.substr(6);
      if (line.rfind("SigBlk:", 0) == 0) blocked = line.substr(8);
    }
    if (name.rfind("skerry-", 0) == 0)
      CHECK(std::stoull(blocked, nullptr, 16) & (1 << (SIGUSR1 - 1)));
  }
  const auto begin = std::chrono::steady_clock::now();
  OK(test.client.close());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
  CHECK(ours(thread_names()).empty());
  {
    Client quiet(test.url, {"background=0"});
    CHECK(ours(thread_names()).empty());
  }
}

TEST_CASE("guest: descriptors are gone after close", "[capi][guest]") {
  TestVolume test;
  OK(test.client.close());
  work(test);
  const auto before = open_descriptors();
  for (int i = 0; i < 5; i++) work(test);
  CHECK(open_descriptors() == before);
}

TEST_CASE("guest: descriptors do not leak into programs that the host starts", "[capi][guest]") {
  TestVolume test;
  test.client.write("/big", pattern(5 << 20));
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    if (target.find(test.folder.path()) != 0) continue;
    INFO(target);
    CHECK((fcntl(std::stoi(entry.path().filename().string()), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("guest: SIGPROF and its like do not disturb calls", "[capi][guest]") {
  TestVolume test;
  struct sigaction action {};
  struct sigaction old {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, &old);  // without SA_RESTART: calls see EINTR
  std::atomic<bool> stop{false};
  const pthread_t self = pthread_self();
  std::thread disturber([&] {
    while (!stop) {
      pthread_kill(self, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  const std::string bytes = pattern(3 << 20);
  for (int i = 0; i < 10; i++) {
    test.client.write("/f" + std::to_string(i), bytes);
    CHECK(test.client.read("/f" + std::to_string(i)) == bytes);
  }
  stop = true;
  disturber.join();
  sigaction(SIGUSR1, &old, nullptr);
}

// fork(): an open volume works in the child, and the parent does not notice.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "support.h"

#if !SKERRY_TEST_TSAN  // it cannot follow a process with threads through fork()

namespace {

/// What a child does: reads, writes and exits. 0, or the number of the step that went wrong.
int use(skerry_volume* volume, skerry_file* file, const std::string& bytes, int number) {
  std::string back(bytes.size(), '\0');
  if (skerry_pread(file, nullptr, back.data(), back.size(), 0) !=
      static_cast<int64_t>(bytes.size())) {
    return 1;
  }
  if (back != bytes) return 2;
  const std::string path = "/child" + std::to_string(number);
  if (skerry_write_file(volume, nullptr, path.c_str(), bytes.data(), 100'000, 0644) != 0) return 3;
  struct skerry_stat st {};
  if (skerry_stat(volume, nullptr, path.c_str(), &st) != 0 || st.size != 100'000) return 4;
  if (skerry_close(file, nullptr) != 0) return 5;
  if (skerry_volume_close(volume) != 0) return 6;
  return 0;
}

}  // namespace

TEST_CASE("fork: child and parent go on", "[capi][fork]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(5 << 20);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDWR);
  CHECK(read_all(file) == bytes);
  for (int i = 0; i < 5; i++) {
    CHECK(in_child([&] { return use(v, file, bytes, i); }) == 0);
    CHECK(v.read("/child" + std::to_string(i)) == bytes.substr(0, 100'000));
  }
  CHECK(read_all(file) == bytes);
  OK(skerry_pwrite(file, nullptr, "parent", 6, 0));
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f").substr(0, 6) == "parent");
}

#if SKERRY_TEST_FORKS_WITH_THREADS
TEST_CASE("fork: with threads in mid-call", "[capi][fork]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(1 << 20);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDONLY);
  skerry_queue* queue = nullptr;
  OK(skerry_queue_create(v, 64, &queue));
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      std::string own(50'000, 'a');
      std::string back(bytes.size(), '\0');
      for (int i = 0; !stop; i++) {
        const std::string path = "/t" + std::to_string(t) + "-" + std::to_string(i % 10);
        if (skerry_write_file(v, nullptr, path.c_str(), own.data(), own.size(), 0644) != 0) {
          failures++;
        }
        if (skerry_pread(file, nullptr, back.data(), back.size(), 0) !=
            static_cast<int64_t>(bytes.size())) {
          failures++;
        }
        struct skerry_stat st {};
        if (skerry_stat(v, nullptr, path.c_str(), &st) != 0) failures++;
        skerry_file* opened = nullptr;
        if (skerry_open(v, nullptr, path.c_str(), O_RDWR, 0, &opened) != 0) failures++;
        if (opened != nullptr && skerry_close(opened, nullptr) != 0) failures++;
      }
    });
  }
  std::vector<pid_t> children;
  for (int i = 0; i < 40; i++) {
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      _exit(use(v, file, bytes, i));
    }
    children.push_back(child);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 5));
    if (children.size() < 4) continue;
    expect_all_fine(children);
    children.clear();
  }
  expect_all_fine(children);
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(failures == 0);
  skerry_queue_free(queue);
  OK(skerry_close(file, nullptr));
  skerry_fsck_options options{sizeof options, 1};
  skerry_fsck_result result{};
  OK(skerry_fsck(v, nullptr, &options, &result, nullptr, nullptr, nullptr));
  CHECK(result.problems == 0);
}
#endif

TEST_CASE("fork: many threads of the child build it anew together", "[capi][fork]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(300'000);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDONLY);
  CHECK(in_child([&] {
          std::atomic<int> wrong{0};
          std::vector<std::thread> threads;
          for (int t = 0; t < 8; t++) {
            threads.emplace_back([&] {
              std::string back(bytes.size(), '\0');
              if (skerry_pread(file, nullptr, back.data(), back.size(), 0) !=
                      static_cast<int64_t>(bytes.size()) ||
                  back != bytes) {
                wrong++;
              }
            });
          }
          for (auto& thread : threads) thread.join();
          // And the child's child.
          if (in_child([&] { return use(v, file, bytes, 1); }) != 0) wrong++;
          if (skerry_close(file, nullptr) != 0) wrong++;
          if (skerry_volume_close(v) != 0) wrong++;
          return wrong.load();
        }) == 0);
  OK(skerry_close(file, nullptr));
}

TEST_CASE("fork: what was not flushed stays the parent's", "[capi][fork]") {
#if SKERRY_TEST_FORKS_WITH_THREADS
  TestVolume test;
#else
  TestVolume test({"background=0"});
#endif
  Client& v = test.client;
  skerry_file* file = v.open("/f", O_RDWR | O_CREAT);
  OK(skerry_pwrite(file, nullptr, "unflushed", 9, 0));
  CHECK(in_child([&] {
          struct skerry_stat st {};
          if (skerry_fstat(file, nullptr, &st) != 0) return 1;
          if (st.size != 0 && st.size != 9) return 2;  // 9: the parent's background flush was quick
          if (skerry_close(file, nullptr) != 0) return 3;
          return skerry_volume_close(v) == 0 ? 0 : 4;
        }) == 0);
  CHECK(v.stat("/f").size == 9);
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f") == "unflushed");
}

TEST_CASE("fork: a child that never uses the volume closes it or just exits", "[capi][fork]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "data");
  skerry_file* file = v.open("/f", O_RDONLY);
  skerry_queue* queue = nullptr;
  OK(skerry_queue_create(v, 4, &queue));
  skerry_dir* dir = nullptr;
  OK(skerry_opendir(v, nullptr, "/", 0, nullptr, &dir));
  CHECK(in_child([&] {
          skerry_queue_free(queue);
          if (skerry_close(file, nullptr) != 0) return 1;
          if (skerry_volume_close(v) != 0) return 2;
          skerry_closedir(dir);
          return 0;
        }) == 0);
  CHECK(in_child([] { return 0; }) == 0);
  // Listing and queue in a child that does use them.
  CHECK(in_child([&] {
          skerry_dirent entry{};
          if (skerry_readdir(dir, nullptr, &entry, 1) != 1) return 1;
          char buffer[4];
          skerry_request request{};
          request.struct_size = sizeof request;
          request.operation = SKERRY_OP_PREAD;
          request.file = file;
          request.buffer = buffer;
          request.length = 4;
          if (skerry_submit(queue, nullptr, &request, 1) != 1) return 2;
          skerry_completion done{};
          if (skerry_wait(queue, &done, 1, 1, 30'000) != 1 || done.result != 4) return 3;
          skerry_queue_free(queue);
          return 0;
        }) == 0);
  skerry_closedir(dir);
  skerry_queue_free(queue);
  OK(skerry_close(file, nullptr));
  CHECK(v.read("/f") == "data");
}

#endif

// Whole files, many at once, and the completion queue.
#include <poll.h>

#include <set>

#include "support.h"

TEST_CASE("batch: write, stat, open, read", "[capi][batch]") {
  TestVolume test;
  Client& v = test.client;
  OK(skerry_mkdir(v, nullptr, "/d", 0755));
  constexpr size_t kFiles = 1000;
  std::vector<std::string> paths, contents;
  std::vector<skerry_write_request> writes;
  for (size_t i = 0; i < kFiles; i++) {
    paths.push_back("/d/f" + std::to_string(i));
    contents.push_back(pattern(i % 7 == 0 ? 20'000 : i, static_cast<unsigned>(i)));
  }
  for (size_t i = 0; i < kFiles; i++) {
    writes.push_back({paths[i].c_str(), contents[i].data(), contents[i].size(), 0640, -1});
  }
  writes.push_back({"/none/f", "x", 1, 0644, 0});
  writes.push_back({nullptr, "x", 1, 0644, 0});
  const uint64_t puts = v.counter("object_puts");
  CHECK(skerry_write_batch(v, nullptr, writes.data(), writes.size()) == kFiles);
  CHECK(writes[kFiles].result == -ENOENT);
  CHECK(writes[kFiles + 1].result == -EINVAL);
  CHECK(v.counter("object_puts") - puts < 20);  // small files share objects

  std::vector<const char*> names;
  for (const auto& path : paths) names.push_back(path.c_str());
  names.push_back("/d/none");
  names.push_back("/d/");
  names.push_back("");
  std::vector<struct skerry_stat> stats(names.size());
  std::vector<int> results(names.size());
  CHECK(skerry_stat_batch(v, nullptr, names.data(), names.size(), 0, stats.data(),
                          results.data()) == kFiles + 1);
  CHECK(results[kFiles] == -ENOENT);
  CHECK(results[kFiles + 1] == 0);
  CHECK(results[kFiles + 2] == -ENOENT);
  for (size_t i = 0; i < kFiles; i++) CHECK(stats[i].size == contents[i].size());

  // From another client, so that nothing is cached.
  Client other(test.url);
  std::vector<std::string> buffers(kFiles);
  std::vector<skerry_read_request> reads;
  std::vector<skerry_file*> files(kFiles);
  CHECK(skerry_open_batch(other, nullptr, names.data(), kFiles, O_RDONLY, files.data(),
                          results.data()) == kFiles);
  for (size_t i = 0; i < kFiles; i++) {
    buffers[i].resize(contents[i].size() + 10);
    const bool by_path = i % 2 == 0;
    reads.push_back({by_path ? nullptr : files[i], by_path ? names[i] : nullptr, 0,
                     buffers[i].size(), buffers[i].data(), -1});
  }
  reads.push_back({nullptr, "/d", 0, 1, buffers[0].data(), 0});
  reads.push_back({nullptr, nullptr, 0, 1, buffers[0].data(), 0});
  CHECK(skerry_read_batch(other, nullptr, reads.data(), reads.size()) == kFiles);
  CHECK(reads[kFiles].result == -EISDIR);
  CHECK(reads[kFiles + 1].result == -EINVAL);
  for (size_t i = 0; i < kFiles; i++) {
    REQUIRE(reads[i].result == static_cast<int64_t>(contents[i].size()));
    REQUIRE(buffers[i].substr(0, contents[i].size()) == contents[i]);
    OK(skerry_close(files[i], nullptr));
  }
  CHECK(skerry_write_batch(v, nullptr, nullptr, 0) == 0);
  CHECK(skerry_stat_batch(v, nullptr, nullptr, 0, 0, nullptr, nullptr) == 0);
}

TEST_CASE("batch: writing replaces, through links too; the last of a path wins", "[capi][batch]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", pattern(100'000));
  OK(skerry_symlink(v, nullptr, "f", "/l"));
  skerry_write_request writes[] = {
      {"/f", "first", 5, 0644, -1}, {"/l", "second", 6, 0644, -1}, {"/", "x", 1, 0644, 0}};
  CHECK(skerry_write_batch(v, nullptr, writes, 3) == 2);
  CHECK(writes[2].result == -EISDIR);
  CHECK(v.read("/f") == "second");
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_write_file(v, &user, "/f", "x", 1, 0644), EACCES);
  FAILS(skerry_write_file(v, &user, "/new", "x", 1, 0644), EACCES);
}

TEST_CASE("read_file: the size, whatever fits", "[capi][batch]") {
  TestVolume test;
  Client& v = test.client;
  v.write("/f", "0123456789");
  char buffer[4];
  CHECK(skerry_read_file(v, nullptr, "/f", buffer, 4) == 10);
  CHECK(std::string(buffer, 4) == "0123");
  CHECK(skerry_read_file(v, nullptr, "/f", nullptr, 0) == 10);
  FAILS(skerry_read_file(v, nullptr, "/", buffer, 4), EISDIR);
  FAILS(skerry_read_file(v, nullptr, "/none", buffer, 4), ENOENT);
  OK(skerry_chmod(v, nullptr, "/f", 0600));
  skerry_context user = context_of(1000, 1000);
  FAILS(skerry_read_file(v, &user, "/f", buffer, 4), EACCES);
}

namespace {

skerry_request request_of(uint32_t operation, uint64_t user_data) {
  skerry_request request{};
  request.struct_size = sizeof request;
  request.operation = operation;
  request.user_data = user_data;
  return request;
}

bool readable(int fd, int timeout_ms) {
  pollfd p{fd, POLLIN, 0};
  return poll(&p, 1, timeout_ms) == 1;
}

}  // namespace

TEST_CASE("queue: every operation", "[capi][queue]") {
  TestVolume test;
  Client& v = test.client;
  skerry_queue* queue = nullptr;
  FAILS(skerry_queue_create(v, 0, &queue), EINVAL);
  FAILS(skerry_queue_create(v, 70'000, &queue), EINVAL);
  OK(skerry_queue_create(v, 16, &queue));
  const int fd = skerry_queue_fd(queue);
  OK(fd);
  CHECK_FALSE(readable(fd, 0));
  skerry_completion done{};
  auto run = [&](skerry_request request) {
    CHECK(skerry_submit(queue, nullptr, &request, 1) == 1);
    CHECK(readable(fd, 30'000));
    CHECK(skerry_wait(queue, &done, 1, 1, 30'000) == 1);
    CHECK_FALSE(readable(fd, 0));
    CHECK(done.user_data == request.user_data);
    return done.result;
  };
  skerry_request open = request_of(SKERRY_OP_OPEN, 1);
  open.path = "/f";
  open.flags = O_RDWR | O_CREAT;
  open.mode = 0644;
  OK(run(open));
  skerry_file* file = done.file;
  REQUIRE(file != nullptr);
  char bytes[] = "queued";
  skerry_request write = request_of(SKERRY_OP_PWRITE, 2);
  write.file = file;
  write.buffer = bytes;
  write.length = 6;
  CHECK(run(write) == 6);
  skerry_request sync = request_of(SKERRY_OP_FSYNC, 3);
  sync.file = file;
  OK(run(sync));
  char back[16] = "";
  skerry_request read = request_of(SKERRY_OP_PREAD, 4);
  read.file = file;
  read.buffer = back;
  read.length = sizeof back;
  CHECK(run(read) == 6);
  CHECK(std::string(back, 6) == "queued");
  skerry_request close = request_of(SKERRY_OP_CLOSE, 5);
  close.file = file;
  OK(run(close));
  struct skerry_stat st {};
  skerry_request stat = request_of(SKERRY_OP_STAT, 6);
  stat.path = "/f";
  stat.buffer = &st;
  OK(run(stat));
  CHECK(st.size == 6);
  skerry_request whole = request_of(SKERRY_OP_READ_FILE, 7);
  whole.path = "/f";
  whole.buffer = back;
  whole.length = 3;
  CHECK(run(whole) == 6);
  whole.path = "/none";
  CHECK(run(whole) == -ENOENT);
  skerry_request bad = request_of(99, 8);
  FAILS(skerry_submit(queue, nullptr, &bad, 1), EINVAL);
  bad = request_of(SKERRY_OP_PREAD, 8);
  FAILS(skerry_submit(queue, nullptr, &bad, 1), EINVAL);
  CHECK(skerry_wait(queue, &done, 1, 1, 10) == 0);
  skerry_queue_free(queue);
}

TEST_CASE("queue: bounded, and every request completes once", "[capi][queue]") {
  TestVolume test;
  Client& v = test.client;
  const std::string bytes = pattern(1 << 20);
  v.write("/f", bytes);
  skerry_file* file = v.open("/f", O_RDONLY);
  skerry_queue* queue = nullptr;
  OK(skerry_queue_create(v, 32, &queue));
  std::vector<std::string> buffers(500, std::string(4096, '\0'));
  std::vector<skerry_request> requests;
  for (size_t i = 0; i < buffers.size(); i++) {
    skerry_request request = request_of(SKERRY_OP_PREAD, i);
    request.file = file;
    request.buffer = buffers[i].data();
    request.length = 4096;
    request.offset = i * 2000;
    requests.push_back(request);
  }
  std::set<uint64_t> seen;
  size_t next = 0;
  std::vector<skerry_completion> done(64);
  while (seen.size() < requests.size()) {
    if (next < requests.size()) {
      int taken = skerry_submit(queue, nullptr, requests.data() + next,
                                static_cast<uint32_t>(requests.size() - next));
      if (taken < 0) CHECK(taken == -EAGAIN);
      if (taken > 0) next += static_cast<size_t>(taken);
    }
    int count = skerry_wait(queue, done.data(), 64, 1, UINT32_MAX);
    OK(count);
    for (int i = 0; i < count; i++) {
      CHECK(done[i].result == 4096);
      CHECK(seen.insert(done[i].user_data).second);
    }
  }
  for (size_t i = 0; i < buffers.size(); i++) {
    CHECK(buffers[i] == bytes.substr(i * 2000, 4096));
  }
  // What is cancelled completes all the same.
  requests.resize(32);
  CHECK(skerry_submit(queue, nullptr, requests.data(), 32) == 32);
  for (const auto& request : requests) OK(skerry_queue_cancel(queue, request.user_data));
  int left = 32;
  while (left > 0) {
    int count = skerry_wait(queue, done.data(), 64, 1, 30'000);
    REQUIRE(count > 0);
    for (int i = 0; i < count; i++) {
      CHECK((done[i].result == 4096 || done[i].result == -ECANCELED));
    }
    left -= count;
  }
  CHECK(skerry_queue_cancel(queue, 12345) == 0);
  // Freed with requests in flight, and after its volume.
  CHECK(skerry_submit(queue, nullptr, requests.data(), 32) == 32);
  skerry_queue* other = nullptr;
  OK(skerry_queue_create(v, 4, &other));
  skerry_queue_free(queue);
  OK(skerry_close(file, nullptr));
  OK(v.close());
  FAILS(skerry_queue_fd(other), EBADF);
  skerry_queue_free(other);
}

// Data in S3: ranges, blocks, a large file and many small ones, beside loops on libcurl's multi
// interface that have as many requests in flight. The server is tests/support/s3.sh's, whose folder
// --server names; its CPU is not counted.
#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <thread>

#include "bench.h"
#include "object/s3/credentials.h"
#include "object/s3/s3_store.h"
#include "object/s3/signature.h"
#include "volume.h"

namespace {

using namespace bench;
using namespace skerry;

constexpr size_t kRange = 128 << 10, kBlock = 4 << 20, kFile = 100 << 10;
constexpr size_t kBlocks = 64, kRanges = 1024, kFiles = 10'000;
constexpr uint64_t kLarge = uint64_t{1} << 30;

struct Place {
  std::string key;
  uint64_t offset = 0;
};

/// The peer: requests signed beforehand, `in_flight` kept easy handles, bytes copied into memory of
/// the caller.
class RawLoop {
 public:
  RawLoop(const s3::Location& location, const s3::Credentials& credentials)
      : location_(location), credentials_(credentials), multi_(curl_multi_init()) {}
  ~RawLoop() {
    for (Slot& slot : slots_) curl_easy_cleanup(slot.easy);
    curl_multi_cleanup(multi_);
  }

  std::string url(const char* method, const std::string& key) const {
    s3::SignedRequest request;
    const std::string path = location_.path(location_.prefix + key);
    request.method = method;
    request.path = path;
    request.headers = {{"host", location_.host()}};
    return location_.origin() + s3::uri_encode(path, true) + "?" +
           s3::presigned_query(request, credentials_,
                               {location_.region, "s3", system_clock().now_ns()}, 86'400);
  }

  /// GETs of `size` bytes at the places, or PUTs of `data` where that is given.
  void run(const std::vector<std::pair<std::string, uint64_t>>& urls, size_t size, size_t in_flight,
           const std::string* data = nullptr) {
    while (slots_.size() < in_flight) slots_.emplace_back().easy = curl_easy_init();
    size_t next = 0, done = 0;
    auto begin = [&](Slot& slot) {
      const auto& [url, offset] = urls[next++];
      slot.memory.resize(size);
      slot.at = 0;
      slot.data = data;
      const std::string range = std::to_string(offset) + "-" + std::to_string(offset + size - 1);
      curl_easy_setopt(slot.easy, CURLOPT_URL, url.c_str());
      curl_easy_setopt(slot.easy, CURLOPT_PRIVATE, &slot);
      curl_easy_setopt(slot.easy, CURLOPT_WRITEFUNCTION, take);
      curl_easy_setopt(slot.easy, CURLOPT_WRITEDATA, &slot);
      curl_easy_setopt(slot.easy, CURLOPT_BUFFERSIZE, 256L << 10);
      curl_easy_setopt(slot.easy, CURLOPT_RANGE, data == nullptr ? range.c_str() : nullptr);
      curl_easy_setopt(slot.easy, CURLOPT_UPLOAD, data != nullptr ? 1L : 0L);
      if (data == nullptr) curl_easy_setopt(slot.easy, CURLOPT_HTTPGET, 1L);
      if (data != nullptr) {
        curl_easy_setopt(slot.easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
        curl_easy_setopt(slot.easy, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(slot.easy, CURLOPT_READDATA, &slot);
        curl_easy_setopt(slot.easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
      }
      curl_multi_add_handle(multi_, slot.easy);
    };
    for (size_t i = 0; i < std::min(in_flight, urls.size()); ++i) begin(slots_[i]);
    while (done < urls.size()) {
      int running = 0, left = 0;
      curl_multi_perform(multi_, &running);
      while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        Slot* slot = nullptr;
        long status = 0;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        must(message->data.result == CURLE_OK && status / 100 == 2, "answer the raw loop");
        must(data != nullptr || slot->at == size, "give the raw loop all bytes");
        curl_multi_remove_handle(multi_, slot->easy);
        ++done;
        if (next < urls.size()) begin(*slot);
      }
      if (done < urls.size()) curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
  }

 private:
  struct Slot {
    CURL* easy = nullptr;
    std::string memory;
    size_t at = 0;
    const std::string* data = nullptr;
  };
  static size_t take(char* bytes, size_t size, size_t count, void* context) {
    auto& slot = *static_cast<Slot*>(context);
    const size_t n = std::min(size * count, slot.memory.size() - slot.at);
    std::copy_n(bytes, n, slot.memory.data() + slot.at);
    slot.at += n;
    return size * count;
  }
  static size_t give(char* out, size_t size, size_t count, void* context) {
    auto& slot = *static_cast<Slot*>(context);
    const size_t n = std::min(size * count, slot.data->size() - slot.at);
    std::copy_n(slot.data->data() + slot.at, n, out);
    slot.at += n;
    return n;
  }

  const s3::Location& location_;
  const s3::Credentials& credentials_;
  CURLM* multi_;
  std::vector<Slot> slots_ = [] {
    std::vector<Slot> slots;
    slots.reserve(256);
    return slots;
  }();
};

std::string noise(size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  std::mt19937_64 random(seed);
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

using Urls = std::vector<std::pair<std::string, uint64_t>>;

void both(Report& report, const std::string& what, double bytes, const Contestant& ours,
          const Contestant& raw, int rounds, double most_cpu = -1) {
  const std::vector<Outcome> o = compare({ours, raw}, rounds);
  report.line(what, bytes / o[0].median.wall_ns, "GB/s", "libcurl", bytes / o[1].median.wall_ns,
              0.9, false);
  report.line(what + ", client's CPU", o[0].median.cpu_ns / 1e3, "us a request", "libcurl",
              o[1].median.cpu_ns / 1e3, most_cpu, true);
}

}  // namespace

int main(int argc, char** argv) {
  Report report("Data in S3 (versitygw on the same machine)", argc, argv);
  const std::string server = argument(argc, argv, "server", "");
  must(!server.empty(), "find the server: --server=FOLDER of tests/support/s3.sh");
  setenv("AWS_SHARED_CREDENTIALS_FILE", (server + "/credentials").c_str(), 1);
  std::string endpoint(256, '\0');
  FILE* file = fopen((server + "/endpoint").c_str(), "r");
  must(file != nullptr && fgets(endpoint.data(), 256, file) != nullptr, "read the endpoint");
  fclose(file);
  endpoint.resize(endpoint.find('\n'));
  const auto variable = [](const char* name) -> const char* { return std::getenv(name); };
  const std::string url = "s3://bench/objects?endpoint=" + endpoint;
  const s3::Location location = s3::parse_location(url, variable).value();
  OpContext ctx;
  ctx.clock = &system_clock();
  const s3::Credentials credentials =
      s3::make_credentials(location, variable, system_clock()).value()->get(ctx).value();
  S3ObjectStore store(location, credentials, system_clock());
  must(store.make_bucket_if_absent(ctx).ok(), "make the bucket");
  RawLoop raw(location, credentials);

  // ---- blocks
  const std::string block = noise(kBlock, 1);
  Urls puts;
  std::vector<std::string> keys;
  for (size_t i = 0; i < kBlocks; ++i) {
    keys.push_back("block" + std::to_string(i));
    puts.emplace_back(raw.url("PUT", keys.back()), 0);
  }
  both(report, "PUT of 4 MiB, 8 in flight", kBlock,
       {"ours", kBlocks,
        [&] {
          std::atomic<size_t> next{0};
          std::vector<std::thread> threads;
          for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
              for (size_t i; (i = next++) < kBlocks;)
                must(store.put(ctx, keys[i], {as_bytes(block)}).ok(), "put");
            });
          for (auto& thread : threads) thread.join();
        }},
       {"raw", kBlocks, [&] { raw.run(puts, kBlock, 8, &block); }}, 3);

  // ---- ranges
  std::mt19937_64 random(7);
  std::vector<Place> places;
  Urls gets;
  for (size_t i = 0; i < kRanges; ++i) {
    const std::string& key = keys[random() % kBlocks];
    places.push_back({key, random() % (kBlock - kRange)});
    gets.emplace_back(raw.url("GET", key), places.back().offset);
  }
  std::vector<std::string> memory(64, std::string(kRange, '\0'));
  for (size_t in_flight : {1, 16, 64}) {
    both(report, "random 128 KiB, " + std::to_string(in_flight) + " in flight", kRange,
         {"ours", kRanges,
          [&] {
            for (size_t at = 0; at < kRanges; at += in_flight) {
              std::vector<ObjectRange> ranges;
              for (size_t i = 0; i < in_flight; ++i)
                ranges.push_back({places[at + i].key,
                                  places[at + i].offset,
                                  std::as_writable_bytes(std::span(memory[i])),
                                  {}});
              store.get_many(ctx, ranges,
                             [&](size_t i) { must(ranges[i].result.ok(), "get a range"); });
            }
          }},
         {"raw", kRanges, [&] { raw.run(gets, kRange, in_flight); }}, 3, 1.2);
  }

  // ---- a large file, and many small ones
  Scratch scratch(argument(argc, argv, "dir", "/dev/shm"));
  const std::string storage = "storage=s3://bench/volume?endpoint=" + endpoint;
  std::vector<std::string> names;
  {
    BenchVolume volume(scratch.path(), {"background=0"}, {storage});
    skerry_file* large = volume.open("/large", O_CREAT | O_WRONLY);
    for (uint64_t at = 0; at < kLarge; at += kBlock)
      must(skerry_pwrite(large, nullptr, block.data(), kBlock, at) == int64_t{kBlock}, "write");
    volume.close(large);
    const uint64_t before = volume.counter("object_puts");
    std::vector<skerry_write_request> requests(kFiles);
    for (size_t i = 0; i < kFiles; ++i) names.push_back("/f" + std::to_string(i));
    for (size_t i = 0; i < kFiles; ++i)
      requests[i] = {names[i].c_str(), block.data() + i, kFile, 0644, 0};
    must(skerry_write_batch(volume.get(), nullptr, requests.data(), kFiles) == int64_t{kFiles},
         "write the files: " + BenchVolume::why());
    report.figure("PUTs of 10,000 files of 100 KiB, batch call",
                  static_cast<double>(volume.counter("object_puts") - before), "PUTs", 300);
  }
  Urls whole;
  for (uint64_t at = 0; at < kLarge; at += kBlock)
    whole.emplace_back(raw.url("GET", keys[at / kBlock % kBlocks]), 0);
  std::unique_ptr<BenchVolume> volume;
  auto open = [&] {
    volume.reset();
    volume = std::make_unique<BenchVolume>(scratch.path(), std::vector<std::string>{"background=0"},
                                           std::vector<std::string>{}, false);
  };
  std::string piece(1 << 20, '\0');
  both(report, "cold sequential read of 1 GiB", kBlock,
       {"ours", kLarge / kBlock,
        [&] {
          skerry_file* large = volume->open("/large", O_RDONLY);
          for (uint64_t at = 0; at < kLarge; at += piece.size())
            must(skerry_pread(large, nullptr, piece.data(), piece.size(), at) ==
                     static_cast<int64_t>(piece.size()),
                 "read: " + BenchVolume::why());
          volume->close(large);
        },
        open},
       {"raw", kLarge / kBlock, [&] { raw.run(whole, kBlock, 8); }}, 3, 1.2);

  std::vector<size_t> order(kFiles);
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  Urls singles;
  for (size_t i = 0; i < kFiles; ++i)
    singles.emplace_back(gets[i % kRanges].first, gets[i % kRanges].second);
  std::string contents(kFiles * kFile, '\0');
  const std::vector<Outcome> files =
      compare({{"ours", kFiles,
                [&] {
                  std::vector<skerry_read_request> requests(kFiles);
                  for (size_t i = 0; i < kFiles; ++i)
                    requests[i] = {nullptr, names[order[i]].c_str(),     0,
                                   kFile,   contents.data() + i * kFile, 0};
                  must(skerry_read_batch(volume->get(), nullptr, requests.data(), kFiles) ==
                           int64_t{kFiles},
                       "read the files: " + BenchVolume::why());
                },
                open},
               {"raw", kFiles, [&] { raw.run(singles, kFile, 64); }}},
              3);
  report.line("10,000 files of 100 KiB, random order, batch call", 1e9 / files[0].median.wall_ns,
              "files/s", "libcurl, 64 GETs in flight", 1e9 / files[1].median.wall_ns, 0.72, false);
  report.line("client's CPU of it", files[0].median.cpu_ns / 1e3, "us a file", "libcurl",
              files[1].median.cpu_ns / 1e3, -1, true);
  volume.reset();
  return 0;
}

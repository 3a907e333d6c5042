// What compressing and encrypting blocks of 4 MiB costs, over objects in memory: puts, whole gets
// and reads of 8 KiB at random, beside the same in plain and beside OpenSSL or zstd alone.
//
//   frames_bench [--json=FILE] [--rounds=N]
#include <openssl/evp.h>
#include <zstd.h>

#include <cstring>
#include <memory>

#include "base/clock.h"
#include "bench.h"
#include "data/block_format.h"
#include "object/decorators/framed_store.h"
#include "object/memory/memory_store.h"
#include "vfs/settings.h"

using namespace skerry;

namespace {

constexpr size_t kBlockBytes = 512 * data::kFramedPageBytes;
constexpr uint64_t kRandomReads = 200;
constexpr uint64_t kKeys = 4;

/// Half of it is noise, so zstd makes it about half as long.
std::vector<std::byte> make_block() {
  std::vector<std::byte> block(kBlockBytes);
  for (size_t i = 0; i < block.size(); ++i) {
    block[i] = static_cast<std::byte>(bench::mix(i) & 0x0f);
  }
  return block;
}

meta::VolumeFormat format_of(bool encrypted, const char* compression) {
  meta::VolumeFormat format;
  format.uuid = "bench";
  format.compression = compression;
  format.layouts = {{1, encrypted}};
  return format;
}

std::shared_ptr<const KeyRing> make_keys() {
  auto keys = std::make_shared<KeyRing>();
  keys->volume = "bench";
  keys->current = 1;
  keys->data_keys[1] = SecretKey::random().value();
  return keys;
}

double gb_per_s(const bench::Outcome& outcome) { return kBlockBytes / outcome.median.cpu_ns; }

}  // namespace

int main(int argc, char** argv) {
  bench::Report report("4 MiB blocks, compressed and encrypted, in memory", argc, argv);
  const int rounds = std::stoi(bench::argument(argc, argv, "rounds", "9"));
  const std::vector<std::byte> block = make_block();
  OpContext ctx;
  ctx.clock = &system_clock();
  const auto keys = make_keys();
  struct Kind {
    const char* name;
    bool framed, encrypted;
    const char* compression;
  };
  constexpr Kind kKinds[] = {{"plain", false, false, "none"},
                             {"AES-256-GCM", true, true, "none"},
                             {"lz4", true, false, "lz4"},
                             {"zstd", true, false, "zstd"},
                             {"zstd and AES-256-GCM", true, true, "zstd"}};
  std::vector<std::shared_ptr<ObjectStore>> stores;
  for (const Kind& kind : kKinds) {
    std::shared_ptr<ObjectStore> memory = std::make_shared<MemoryObjectStore>(system_clock());
    stores.push_back(!kind.framed
                         ? memory
                         : vfs::decorate(memory, format_of(kind.encrypted, kind.compression),
                                         kind.encrypted ? keys : nullptr));
  }
  std::vector<std::byte> out(kBlockBytes + (1 << 16)), again(kBlockBytes);

  std::vector<bench::Contestant> puts, gets, reads;
  for (size_t i = 0; i < stores.size(); ++i) {
    ObjectStore& store = *stores[i];
    puts.push_back({kKinds[i].name, kKeys, [&] {
                      for (uint64_t k = 1; k <= kKeys; ++k) {
                        bench::must(store.put(ctx, data::object_key(k), {block}).ok(), "put");
                      }
                    }});
    gets.push_back({kKinds[i].name, kKeys, [&] {
                      for (uint64_t k = 1; k <= kKeys; ++k) {
                        bench::must(store.get(ctx, data::object_key(k), 0, again).ok(), "get");
                      }
                      bench::must(again == block, "what was put is what is got");
                    }});
    reads.push_back({kKinds[i].name, kRandomReads, [&] {
                       for (uint64_t r = 0; r < kRandomReads; ++r) {
                         const uint64_t page = bench::mix(r) % 512;
                         bench::must(store
                                         .get(ctx, data::object_key(r % kKeys + 1),
                                              page * data::kFramedPageBytes,
                                              MutableBytes(out).first(data::kFramedPageBytes))
                                         .ok(),
                                     "read");
                       }
                     }});
  }
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> cipher(EVP_CIPHER_CTX_new(),
                                                                         EVP_CIPHER_CTX_free);
  const unsigned char secret[32] = {1};
  puts.push_back(
      {"OpenSSL", kKeys, [&] {
         for (uint64_t k = 0; k < kKeys; ++k) {
           int n = 0;
           bool ok =
               EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, secret, secret) == 1 &&
               EVP_EncryptUpdate(cipher.get(), reinterpret_cast<unsigned char*>(out.data()), &n,
                                 reinterpret_cast<const unsigned char*>(block.data()),
                                 static_cast<int>(block.size())) == 1;
           bench::must(ok, "OpenSSL");
         }
       }});
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> writer(ZSTD_createCCtx(), ZSTD_freeCCtx);
  puts.push_back({"zstd alone", kKeys, [&] {
                    for (uint64_t k = 0; k < kKeys; ++k) {
                      bench::must(ZSTD_isError(ZSTD_compressCCtx(
                                      writer.get(), out.data(), out.size(), block.data(),
                                      block.size(), Compression::kDefaultZstdLevel)) == 0,
                                  "zstd");
                    }
                  }});
  std::vector<std::byte> packed(ZSTD_compressBound(kBlockBytes));
  packed.resize(ZSTD_compressCCtx(writer.get(), packed.data(), packed.size(), block.data(),
                                  block.size(), Compression::kDefaultZstdLevel));
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> reader(ZSTD_createDCtx(), ZSTD_freeDCtx);
  gets.push_back({"OpenSSL", kKeys, puts[stores.size()].body});
  gets.push_back({"zstd alone", kKeys, [&] {
                    for (uint64_t k = 0; k < kKeys; ++k) {
                      bench::must(ZSTD_decompressDCtx(reader.get(), again.data(), again.size(),
                                                      packed.data(), packed.size()) == kBlockBytes,
                                  "zstd");
                    }
                  }});

  auto compare = [&](const std::vector<bench::Contestant>& contestants, const std::string& what) {
    const auto outcomes = bench::compare(contestants, rounds);
    const bench::Outcome &openssl = outcomes[stores.size()], &zstd = outcomes[stores.size() + 1];
    report.figure(what + ", plain", gb_per_s(outcomes[0]), "GB/s of CPU");
    report.line(what + ", AES-256-GCM", gb_per_s(outcomes[1]), "GB/s of CPU", openssl.name,
                gb_per_s(openssl), 0.5, false);
    report.figure(what + ", lz4", gb_per_s(outcomes[2]), "GB/s of CPU");
    report.line(what + ", zstd", gb_per_s(outcomes[3]), "GB/s of CPU", zstd.name, gb_per_s(zstd),
                0.5, false);
    report.line(what + ", zstd and AES-256-GCM", gb_per_s(outcomes[4]), "GB/s of CPU", zstd.name,
                gb_per_s(zstd), 0.4, false);
  };
  compare(puts, "put");
  compare(gets, "get");
  const auto random = bench::compare(reads, rounds);
  for (size_t i = 1; i < random.size(); ++i) {
    report.line("read of 8 KiB, " + random[i].name, random[i].median.cpu_ns / 1000, "us of CPU",
                random[0].name, random[0].median.cpu_ns / 1000, -1, true);
  }
  return 0;
}

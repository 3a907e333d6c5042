// Clients over one volume in memory with everything below FileStore real: for tests of files.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "data/file_store.h"
#include "meta/ops.h"
#include "meta/session.h"
#include "object/decorators/counting_store.h"
#include "object/decorators/fault_store.h"
#include "object/memory/memory_store.h"
#include "support/random_bytes.h"
#include "support/test_volume.h"

namespace skerry::data {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(std::string_view s) {
  const ByteView view = as_bytes(s);
  return {view.begin(), view.end()};
}
inline std::string text_of(const Bytes& bytes) { return std::string(as_string_view(bytes)); }

/// Asks a hook about every call. It may be replaced while uploads in the background ask it.
class HookedObjectFaults final : public ObjectFaults {
 public:
  using Function = std::function<Decision(std::string_view op, std::string_view key)>;
  class Hook {
   public:
    Hook& operator=(Function function) {
      std::lock_guard lock(mutex_);
      function_ = std::move(function);
      return *this;
    }
    Function get() const {
      std::lock_guard lock(mutex_);
      return function_;
    }

   private:
    mutable std::mutex mutex_;
    Function function_;  // guarded by mutex_
  };

  Hook hook;
  Decision before(const char* op, std::string_view key) override {
    const Function asked = hook.get();
    return asked ? asked(op, key) : Decision();
  }
  void fail(std::string only, int error) {
    hook = [only, error](std::string_view op, std::string_view) {
      if (op != only) return Decision();
      return Decision{Decision::kFailBefore, error, false};
    };
  }
};

struct FileClient {
  std::unique_ptr<meta::TestClient> client;
  OpContext& ctx;
  HookedObjectFaults faults;
  CountingObjectStore objects;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<BlockStore> blocks;
  std::unique_ptr<FileStore> files;

  FileClient(std::unique_ptr<meta::TestClient> opened, std::shared_ptr<ObjectStore> bucket,
             BlockStoreOptions block_options, FileStoreOptions options, unsigned threads)
      : client(std::move(opened)),
        ctx(client->ctx),
        objects(std::make_shared<FaultObjectStore>(std::move(bucket), faults)),
        executor(threads == 0 ? make_inline_executor() : make_thread_pool("file", threads)),
        blocks(std::make_unique<BlockStore>(*client->meta, objects, *executor, block_options)),
        files(std::make_unique<FileStore>(*client->meta, *blocks, *executor, options)) {}
  ~FileClient() {
    // Tasks that prefetch hold the block store.
    files.reset();
    blocks.reset();
    executor.reset();
  }
  meta::Meta& meta() { return *client->meta; }

  meta::Ino create(std::string_view name) {
    auto made = meta::create(ctx, meta(), meta::kRootIno, name, {.mode = 0644});
    REQUIRE(made.ok());
    return made->attr.ino;
  }
  Bytes read(OpenInode& inode, uint64_t offset, size_t length) {
    Bytes out(length, std::byte{0x5a});
    auto n = inode.read(ctx, offset, out, nullptr);
    if (!n.ok()) FAIL(n.error().message());
    out.resize(*n);
    return out;
  }
  void write(OpenInode& inode, uint64_t offset, ByteView bytes) {
    Status done = inode.write(ctx, offset, bytes, false, 0);
    if (!done.ok()) FAIL(done.error().message());
  }
  void append(OpenInode& inode, ByteView bytes) {
    Status done = inode.write(ctx, 0, bytes, true, 0);
    if (!done.ok()) FAIL(done.error().message());
  }
  void flush(OpenInode& inode, meta::Durability durability = meta::Durability::kVisible) {
    Status done = inode.flush(ctx, durability);
    if (!done.ok()) FAIL(done.error().message());
  }
  uint64_t length(OpenInode& inode) {
    auto attr = inode.attributes(ctx);
    REQUIRE(attr.ok());
    return attr->length;
  }
};

struct FileVolume {
  meta::TestVolume volume;
  std::shared_ptr<MemoryObjectStore> bucket = std::make_shared<MemoryObjectStore>(volume.server);
  BlockStoreOptions block_options;
  FileStoreOptions file_options;

  std::unique_ptr<FileClient> open(unsigned threads = 0) {
    return std::make_unique<FileClient>(volume.open(), bucket, block_options, file_options,
                                        threads);
  }
  /// Reclaims everything that no client can use any more.
  void reclaim(const std::vector<FileClient*>& clients) {
    FileClient& reclaimer = *clients[0];
    for (int round = 0; round < 6; ++round) {
      for (FileClient* client : clients) client->client->beat();
      auto done = meta::reclaim_step(reclaimer.ctx, reclaimer.meta(),
                                     [&](const OpContext& ctx, const auto& ids) {
                                       return reclaimer.blocks->remove_objects(ctx, ids);
                                     });
      REQUIRE(done.ok());
    }
  }
  void check(FileClient& client) {
    auto result = meta::fsck(client.ctx, client.meta(), {});
    REQUIRE(result.ok());
    for (const auto& problem : result->problems)
      UNSCOPED_INFO(problem.kind + ": " + problem.detail);
    CHECK(result->problem_count == 0);
    CHECK(result->surplus_objects == 0);
  }
};

}  // namespace skerry::data

// The stores of one simulated client: others may go on before and after every call, and the seed
// may let it fail, lose its answer, take long, or be the last thing the client ever does.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "meta/store.h"
#include "model/world.h"
#include "object/object_store.h"

namespace skerry::model {

/// What happens to one call.
enum class Fate {
  kPass,
  kFail,        // nothing happened, and trying again will not help
  kFailOnce,    // nothing happened, and trying again may help
  kLoseAnswer,  // it happened, and the caller hears of a lost connection
  kDie,         // the client is gone before it happened
  kDieAfter,    // ... after it happened
  kCorrupt,     // a read gives wrong bytes
};

/// Draws the fate of each call of one client; delays, freezes and clock jumps happen inside.
class Fates {
 public:
  Fates(World& world, Incarnation& self) : world_(world), self_(self) {}
  Fate draw(bool object_read);
  World& world() { return world_; }
  Incarnation& self() { return self_; }
  /// The call ended: others may go on.
  void done();
  void die();

 private:
  World& world_;
  Incarnation& self_;
};

class SimStore final : public meta::Store {
 public:
  SimStore(World& world, Incarnation& self, bool knows_generation);

  std::string describe() const override { return "simulated:"; }
  meta::StoreCapabilities capabilities() const override { return {2, 3, false, knows_generation_}; }
  Result<meta::ReadResult> read(const OpContext& ctx, const meta::ReadRequest& request) override;
  Result<meta::CommitResult> commit(const OpContext& ctx, meta::CommitRequest request) override;
  Status sync(const OpContext& ctx) override;
  uint64_t generation() noexcept override;
  void tell_changes(meta::ChangeSink* sink) override { sink_ = sink; }
  /// Tells what a notification says.
  void hear(const std::string& payload);

 private:
  Result<meta::CommitResult> apply(const OpContext& ctx, const meta::CommitRequest& request);
  bool plant(meta::CommitRequest* request);

  Fates fates_;
  World& world_;
  meta::MemoryStore base_;
  const bool knows_generation_;
  meta::ChangeSink* sink_ = nullptr;
  uint64_t counter_ = 1;
  std::optional<meta::ReadResult> remembered_;
};

class SimObjects final : public ObjectStore {
 public:
  SimObjects(World& world, Incarnation& self) : fates_(world, self), world_(world) {}

  std::string describe() const override { return "simulated:"; }
  ObjectCapabilities capabilities() const override { return world_.objects->capabilities(); }
  Status put(const OpContext& ctx, std::string_view key, const std::vector<ByteView>& pieces,
             const PutOptions& options = {}) override;
  Status get(const OpContext& ctx, std::string_view key, uint64_t offset,
             MutableBytes out) override;
  Result<ObjectInfo> head(const OpContext& ctx, std::string_view key) override;
  Status remove(const OpContext& ctx, std::string_view key) override;
  Result<std::vector<DeleteOutcome>> remove_batch(const OpContext& ctx,
                                                  const std::vector<std::string>& keys) override;
  Result<ObjectPage> list(const OpContext& ctx, std::string_view prefix,
                          std::string_view start_after, uint32_t limit) override;
  Result<std::string> start_upload(const OpContext& ctx, std::string_view key,
                                   const PutOptions& options = {}) override;
  Result<UploadedPart> put_part(const OpContext& ctx, std::string_view key,
                                std::string_view upload_id, uint32_t number,
                                ByteView data) override;
  Status complete_upload(const OpContext& ctx, std::string_view key, std::string_view upload_id,
                         const std::vector<UploadedPart>& parts) override;
  Status abort_upload(const OpContext& ctx, std::string_view key,
                      std::string_view upload_id) override;

 private:
  /// `corrupt`: set where the bytes read are to be spoilt; null of other calls.
  template <typename Call>
  auto run(const char* what, std::string_view key, bool* corrupt, Call call) -> decltype(call());

  Fates fates_;
  World& world_;
};

}  // namespace skerry::model

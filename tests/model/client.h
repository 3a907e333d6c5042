// Client: one simulated program that has the volume open, doing what the dice say.
#pragma once

#include <fcntl.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/sim_store.h"
#include "model/world.h"
#include "vfs/handle.h"
#include "vfs/namespace.h"
#include "vfs/volume.h"

namespace skerry::model {

/// How the volume is made and opened; the same for all clients of a simulation.
struct VolumeShape {
  meta::VolumeFormat format;
  vfs::VolumeOptions options;
  std::shared_ptr<const KeyRing> keys;  // of the seeds whose volume is encrypted
  bool knows_generation = true;
};
VolumeShape choose_shape(Dice& dice);

class Client {
 public:
  Client(World& world, const VolumeShape& shape, int slot)
      : world_(world), shape_(shape), slot_(slot) {}

  /// Makes `calls` calls, closing and opening the volume now and then, and leaves.
  void run(unsigned calls);

  // For the last check, which uses the volume as one more client.
  bool open_volume();
  void close_volume();
  vfs::Volume& volume() { return *volume_; }
  Incarnation& self() { return *self_; }
  OpContext context(uint32_t uid = 0);

 private:
  struct File {
    std::unique_ptr<vfs::Handle> handle;
    uint64_t id = 0;
    int flags = 0;
    Ino ino = 0;
    bool readable = false, writable = false, append = false, temporary = false;
    Moment opened = 0;  // when the call began that opened it
  };

  void furnish();
  void leave();
  void abandon();
  bool alive() const { return !self_->dead && !world_.failed(); }
  void step();
  void beat();
  Answer perform(Call call, const std::function<Answer(const OpContext&)>& body);
  /// A call by handle or for the volume: any error must be excused.
  Status quiet_call(const std::string& what, const std::function<Status(const OpContext&)>& body);
  void care(const std::string& what, const std::function<Status(const OpContext&)>& body);
  bool excused(int error) const;
  bool is(meta::Consistency mode) const {
    return world_.lease_ns != 0 && shape_.options.consistency == mode;
  }
  std::optional<std::string> judge(const Answer& answer, CallWindow& strict, CallWindow* wide);
  /// What a call that begins now is owed of a file: see DataOracle::Since.
  DataOracle::Since since(Moment began, const File* file = nullptr) const;
  void hear();

  // ---- names (name_calls.cc)
  std::string path_of(const char* name);
  std::string any_path();
  std::string any_directory_path();
  std::string any_directory();
  uint32_t any_uid();
  void name_call();
  Status change_found(const OpContext& ctx, const std::string& path,
                      const std::function<Status(const OpContext&, Ino)>& change);
  void call_stat();
  void call_mkdir();
  void call_symlink();
  void call_remove(Op op);
  void call_rename();
  void call_link();
  void call_attributes(Op op);
  void call_xattr();
  void call_acl();
  void call_list();
  void call_truncate();
  void call_remove_tree();

  // ---- files (file_calls.cc)
  File* any_file(bool (*fits)(const File&));
  void file_call();
  void call_open();
  void call_tmpfile();
  void note_opened(std::unique_ptr<vfs::Handle> handle, int flags, bool temporary);
  void call_close(size_t index);
  void call_write(File& file);
  void call_read(File& file);
  void call_sync(File& file);
  void call_fstat(File& file);
  void call_cut(File& file);
  void call_zero(File& file);
  void call_copy(File& from, File& to);
  void call_fchmod(File& file);
  void call_lock(File& file);
  void call_unlock(File& file);
  void call_link_handle(File& file);
  uint64_t any_offset();
  uint64_t any_length();
  void data_error(Ino ino, int error);

  // ---- the volume
  void care_call();

  World& world_;
  const VolumeShape& shape_;
  const int slot_;
  Incarnation* self_ = nullptr;
  std::shared_ptr<SimStore> store_;
  std::unique_ptr<vfs::Volume> volume_;
  std::vector<File> files_;
  uint64_t next_handle_ = 1;
  TimeNs last_beat_ = 0;
};

}  // namespace skerry::model

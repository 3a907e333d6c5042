// CallWindow: one call in flight, and every answer that POSIX allows it.
//
// A call takes effect at one moment between its begin and its end. For a change that moment is the
// commit, which the simulated store sees. For a call that fails or only reads it may be any moment,
// so after every change of the reference tree the window notes what the call would answer now.
// A path is resolved component by component, at a moment of its own each: the window keeps the set
// of places where the walk may have got to.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "model/namespace_model.h"

namespace skerry::model {

enum class Op {
  kHandle,  // by an open handle: no path, and no change of a name
  kStat,
  kMkdir,
  kSymlink,
  kReadlink,
  kUnlink,
  kRmdir,
  kRename,
  kLink,
  kLinkHandle,
  kChmod,
  kChown,
  kSetXattr,
  kGetXattr,
  kRemoveXattr,
  kList,
  kOpen,
  kTmpfile,
  kTruncate,
  kRemoveTree,
  kSetAttrHandle,
  kSetAcl,
};
const char* name_of(Op op);

struct Call {
  Op op = Op::kHandle;
  Credentials who;
  std::string path, path2;
  bool follow = false;  // a symbolic link in the last place of `path`
  unsigned flags = 0;   // of open, rename, setxattr (XattrMode)
  uint32_t mode = 0;
  std::optional<uint32_t> uid, gid;
  std::string name, value;  // of an extended attribute; value: a symlink's target, an ACL
  Ino ino = 0;              // of the handle
  std::string text() const;
};

/// What a call answered: 0 or a positive errno, and in words what a reading call told.
struct Answer {
  int error = 0;
  std::string detail;
  std::vector<std::string> names;  // kList
};
/// What a call that gives nothing but its error answered.
Answer answer_of(const Status& status);
std::string stat_detail(Ino ino, const ModelInode& inode);

class CallWindow {
 public:
  CallWindow(Call call, const NamespaceModel& model);
  /// For a client that may be told of `past` states as well, each component of a path from a state
  /// of its own: everything that was right in any of them, or since.
  CallWindow(Call call, std::vector<NamespaceModel> past, const NamespaceModel& model);

  const Call& call() const { return call_; }
  /// After a change of the model.
  void observe(const NamespaceModel& model);
  /// The caller's own commit, before the model makes the change. A sentence if the call may not do
  /// this, or not now.
  std::optional<std::string> committing(const TreeChange& change, const NamespaceModel& before);
  /// The same commit afterwards.
  std::optional<std::string> committed(const TreeChange& change, const NamespaceModel& after);
  /// `excused`: errors of the infrastructure are no surprise.
  std::optional<std::string> answered(const Answer& answer, bool excused);
  /// Inodes that the path may have meant.
  const std::set<Ino>& targets() const { return targets_; }
  /// The call changes names or attributes where it succeeds.
  bool changes() const;
  unsigned commits() const { return commits_; }

 private:
  using Place = std::pair<Ino, std::string>;
  /// dir, what is left of the path, links followed, link to be read, dir was searched
  using Step = std::tuple<Ino, std::string, int, Ino, bool>;
  struct Walk {
    bool follow = false;
    std::set<Step> steps;
    std::set<Place> ends;
  };
  struct Verdict {
    std::set<int> structural, permission;
    void refuse(int error) { structural.insert(error); }
    void deny(int error) { permission.insert(error); }
  };

  void advance(Walk& walk, const NamespaceModel& model);
  void step(Walk& walk, const NamespaceModel& model, const Step& from, std::set<Step>* next);
  void evaluate(const NamespaceModel& model);
  void take(const Verdict& verdict, const std::string& detail);
  Verdict judge_add(const NamespaceModel& model, const Place& at) const;
  Verdict judge_remove(const NamespaceModel& model, const Place& at) const;
  Verdict judge_rename(const NamespaceModel& model, const Place& from, const Place& to,
                       bool* nothing) const;
  Verdict judge_target(const NamespaceModel& model, Ino ino, std::string* detail) const;
  Verdict judge_open(const NamespaceModel& model, const Place& at, std::string* detail);
  void evaluate_targets(const NamespaceModel& model);
  void evaluate_list(const NamespaceModel& model);
  bool wants(const TreeChange& change, const NamespaceModel& before, std::string* why);
  void note_parent(const ModelInode& dir);
  bool made_rightly(const ModelInode& made) const;
  std::optional<std::string> answered_list(const Answer& answer) const;

  const Call call_;
  bool any_order_ = false;              // states_ count in any order
  std::vector<NamespaceModel> states_;  // seen so far
  Walk from_, to_;
  std::set<Ino> targets_;
  std::set<int> errors_;           // that would be right at some moment
  std::set<std::string> details_;  // of success
  bool permitted_ = false;         // at some moment
  bool nothing_to_do_ = false;     // at some moment success without a change was right
  unsigned commits_ = 0;           // own, that changed names or attributes
  std::set<Ino> committed_inos_;
  /// (gid, setgid bit, default ACL) of what a new file's directory has been meanwhile
  std::set<std::tuple<uint32_t, uint32_t, std::string>> new_parents_;
  std::set<Ino> unnamed_in_;  // directories for a file without a name, wherever they are by now
  std::optional<ModelInode> expected_;  // attributes after an own chmod or chown
  Ino expected_ino_ = 0;
  // kList
  bool listed_once_ = false;
  std::set<Ino> list_dirs_;
  std::set<std::string> ever_, always_;
};

}  // namespace skerry::model

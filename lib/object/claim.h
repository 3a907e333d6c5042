// Which volume a prefix of an object store belongs to: the object "skerry-volume" there holds the
// volume's UUID, and is made before anything else.
//
// Of clients that claim one prefix at the same time at most one succeeds. Where the store has
// conditional puts, the first one to put the object wins. Where it has none, or takes the condition
// and passes it over, each claimant first puts an object of its own below "skerry-claim/", gives up
// if it lists another's there, and looks for the owner once more. One that died between has left
// its object, which the next one's error names.
#pragma once

#include <functional>
#include <string>

#include "object/object_store.h"
#include "object/probe.h"

namespace skerry {

/// Looks for an owner, tries what a volume needs of the store (StoreProbe::essentials), and claims
/// the prefix. EEXIST: it holds another volume, or is being claimed. EIO: nothing could be stored
/// and read back. `on_lack` is called with what is missing or wrong and need not keep anyone from
/// using the store.
Status claim_prefix(const OpContext& ctx, ObjectStore& store, const std::string& uuid,
                    Random& random, const std::function<void(const StoreCheck&)>& on_lack);

}  // namespace skerry

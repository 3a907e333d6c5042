// How a volume's data is compressed and encrypted: what the format record says, changes of it, and
// the keys.
#pragma once

#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/result.h"
#include "io/op_context.h"
#include "meta/meta.h"
#include "object/crypto/key_ring.h"
#include "object/crypto/key_source.h"
#include "object/object_store.h"
#include "vfs/options.h"

namespace skerry::vfs {

/// The settings of a volume that is being made.
Status set_up(const OpContext& ctx, const FormatOptions& options, meta::VolumeFormat* format);

/// Changes the settings of a volume, for data that is stored from then on, in one commit. EBUSY
/// where it is encrypted, or compressed for the first time, and a client has it open.
Status change_settings(const OpContext& ctx, meta::Store& store, const SettingsOptions& options,
                       Clock& clock, Random& random);

/// Wraps the data keys with a new key of the volume, adds a data key, or both, in one commit: until
/// it is applied the old key opens the volume, from then on the new one. No data is rewritten. A
/// new data key is for data that is stored from then on; EBUSY where a client has the volume open,
/// which would not know it.
Status rotate_key(const OpContext& ctx, meta::Store& store, const RotationOptions& options,
                  Clock& clock, Random& random);

/// The data keys; null where the volume is not encrypted. ENOKEY where no key is given and one is
/// needed, EKEYREJECTED where it is another, EINVAL where none is needed.
Result<std::shared_ptr<const KeyRing>> unlock(const OpContext& ctx,
                                              const meta::VolumeFormat& format,
                                              const std::optional<KeySource>& source);

/// The store as the volume's format has objects in it.
std::shared_ptr<ObjectStore> decorate(std::shared_ptr<ObjectStore> store,
                                      const meta::VolumeFormat& format,
                                      std::shared_ptr<const KeyRing> keys);

}  // namespace skerry::vfs

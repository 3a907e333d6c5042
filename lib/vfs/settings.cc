#include "vfs/settings.h"

#include <algorithm>
#include <utility>

#include "data/block_format.h"
#include "object/decorators/framed_store.h"

namespace skerry::vfs {
namespace {

constexpr int kAttempts = 10;
constexpr meta::ObjectId kFirstObject = 1;

// Whole pages, so that a read of some pages unpacks no frame for less than a page. Encryption costs
// little a frame, and random reads like small ones; compression finds more in large ones.
constexpr uint32_t kEncryptedFrame = 4 * data::kFramedPageBytes;
constexpr uint32_t kCompressedFrame = 16 * data::kFramedPageBytes;

Error changed_meanwhile() {
  return Error(EBUSY, "the volume's settings are changed by others all the time; try again");
}

/// A volume's key as it was found, and its name.
struct VolumeKey {
  SecretKey key;
  std::string id;
};

Result<VolumeKey> load(const OpContext& ctx, const KeySource& source) {
  VolumeKey found;
  SKERRY_ASSIGN(found.key, load_key(ctx, source));
  SKERRY_ASSIGN(found.id, key_id(found.key));
  return found;
}

Error no_key(const meta::EncryptionFormat& encryption) {
  return Error(ENOKEY,
               "the volume is encrypted with the key " + encryption.key_id +
                   " (kind of place when it was set: " + encryption.key_source +
                   "), and no key is given; say where it is with encryption_key=file:/path, "
                   "env:NAME or command:COMMAND");
}

Error wrong_key(const KeySource& source, const VolumeKey& found,
                const meta::EncryptionFormat& encryption) {
  return Error(EKEYREJECTED, "the volume is encrypted with the key " + encryption.key_id +
                                 ", and the one in " + source.describe() + " is " + found.id);
}

/// As the format keeps it.
Result<meta::WrappedKey> wrap(const VolumeKey& volume_key, const std::string& volume, uint32_t id,
                              const SecretKey& data_key) {
  SKERRY_ASSIGN(std::string wrapped, wrap_data_key(volume_key.key, volume, id, data_key));
  return meta::WrappedKey{id, std::move(wrapped)};
}

Result<std::shared_ptr<const KeyRing>> unwrap(const meta::VolumeFormat& format,
                                              const KeySource& source, const VolumeKey& found) {
  const meta::EncryptionFormat& encryption = *format.encryption;
  if (found.id != encryption.key_id) return wrong_key(source, found, encryption);
  auto ring = std::make_shared<KeyRing>();
  ring->volume = format.uuid;
  ring->current = encryption.data_key;
  for (const meta::WrappedKey& key : encryption.data_keys) {
    auto data_key = unwrap_data_key(found.key, format.uuid, key.id, key.wrapped);
    if (!data_key.ok()) {
      return Error(EKEYREJECTED,
                   "the volume's format record is damaged: " + data_key.error().message() +
                       "; restore the metadata from a backup");
    }
    ring->data_keys.emplace(key.id, *data_key);
  }
  return std::shared_ptr<const KeyRing>(std::move(ring));
}

void add_flag(std::vector<std::string>* flags, const char* flag) {
  if (std::find(flags->begin(), flags->end(), flag) == flags->end()) flags->emplace_back(flag);
}

/// A layout for objects from `from` on.
void add_layout(meta::VolumeFormat* format, meta::ObjectId from, bool encrypted) {
  // Nothing can have been stored under a layout that begins where this one does.
  if (!format->layouts.empty() && format->layouts.back().from == from) format->layouts.pop_back();
  format->layouts.push_back({from, encrypted});
  add_flag(&format->incompatible, meta::kFeatureFramedObjects);
  if (encrypted) add_flag(&format->incompatible, meta::kFeatureEncryption);
}

Status encrypt(meta::VolumeFormat* format, meta::ObjectId from, const KeySource& source,
               const VolumeKey& volume_key) {
  meta::EncryptionFormat encryption;
  encryption.key_id = volume_key.id;
  encryption.key_source = source.kind_name();
  encryption.data_key = 1;
  SKERRY_ASSIGN(const SecretKey data_key, SecretKey::random());
  SKERRY_ASSIGN(meta::WrappedKey wrapped,
                wrap(volume_key, format->uuid, encryption.data_key, data_key));
  encryption.data_keys.push_back(std::move(wrapped));
  format->encryption = std::move(encryption);
  add_layout(format, from, true);
  return {};
}

void compress(meta::VolumeFormat* format, meta::ObjectId from, const Compression& compression) {
  format->compression = compression.text();
  if (compression.method != FrameMethod::kStored && format->layouts.empty()) {
    add_layout(format, from, false);
  }
}

}  // namespace

Status set_up(const OpContext& ctx, const FormatOptions& options, meta::VolumeFormat* format) {
  compress(format, kFirstObject, options.compression);
  if (!options.encryption_key) return {};
  SKERRY_ASSIGN(const VolumeKey volume_key, load(ctx, *options.encryption_key));
  return encrypt(format, kFirstObject, *options.encryption_key, volume_key);
}

Status change_settings(const OpContext& ctx, meta::Store& store, const SettingsOptions& options,
                       Clock& clock, Random& random) {
  if (!options.compression && !options.encryption_key) {
    return Error(EINVAL, "nothing to change; give compression, encryption_key, or both");
  }
  std::optional<VolumeKey> volume_key;
  if (options.encryption_key) {
    SKERRY_ASSIGN(volume_key, load(ctx, *options.encryption_key));
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SKERRY_ASSIGN(const meta::FormatSnapshot was, meta::read_format_snapshot(ctx, store));
    meta::VolumeFormat format = was.format;
    if (options.compression) compress(&format, was.next_object, *options.compression);
    if (volume_key) {
      if (format.encrypted()) {
        return Error(EEXIST, "the volume is encrypted already, with the key " +
                                 format.encryption->key_id + "; rotate the key to have another");
      }
      SKERRY_TRY(encrypt(&format, was.next_object, *options.encryption_key, *volume_key));
    }
    SKERRY_ASSIGN(const bool done, meta::replace_format(ctx, store, was, format, clock, random));
    if (done) return {};
  }
  return changed_meanwhile();
}

Status rotate_key(const OpContext& ctx, meta::Store& store, const RotationOptions& options,
                  Clock& clock, Random& random) {
  if (!options.new_encryption_key && !options.new_data_key) {
    return Error(EINVAL, "nothing to change; give new_encryption_key, new_data_key=1, or both");
  }
  SKERRY_ASSIGN(const meta::VolumeFormat now, meta::read_format(ctx, store));
  if (!now.encrypted()) return Error(EINVAL, "the volume is not encrypted");
  if (!options.encryption_key) return no_key(*now.encryption);
  SKERRY_ASSIGN(const VolumeKey old_key, load(ctx, *options.encryption_key));
  const KeySource& new_source =
      options.new_encryption_key ? *options.new_encryption_key : *options.encryption_key;
  SKERRY_ASSIGN(const VolumeKey new_key, load(ctx, new_source));
  if (options.new_encryption_key && new_key.id == old_key.id) {
    return Error(EINVAL, "the new key is the old one, " + old_key.id);
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    SKERRY_ASSIGN(const meta::FormatSnapshot was, meta::read_format_snapshot(ctx, store));
    if (!was.format.encrypted()) return Error(EINVAL, "the volume is not encrypted");
    SKERRY_ASSIGN(const auto ring, unwrap(was.format, *options.encryption_key, old_key));
    meta::VolumeFormat format = was.format;
    meta::EncryptionFormat& encryption = *format.encryption;
    encryption.key_id = new_key.id;
    encryption.key_source = new_source.kind_name();
    encryption.data_keys.clear();
    for (const auto& [id, data_key] : ring->data_keys) {
      SKERRY_ASSIGN(meta::WrappedKey wrapped, wrap(new_key, format.uuid, id, data_key));
      encryption.data_keys.push_back(std::move(wrapped));
    }
    if (options.new_data_key) {
      encryption.data_key = encryption.data_keys.back().id + 1;
      SKERRY_ASSIGN(const SecretKey data_key, SecretKey::random());
      SKERRY_ASSIGN(meta::WrappedKey wrapped,
                    wrap(new_key, format.uuid, encryption.data_key, data_key));
      encryption.data_keys.push_back(std::move(wrapped));
    }
    SKERRY_ASSIGN(const bool done, meta::replace_format(ctx, store, was, format, clock, random));
    if (done) return {};
  }
  return changed_meanwhile();
}

Result<std::shared_ptr<const KeyRing>> unlock(const OpContext& ctx,
                                              const meta::VolumeFormat& format,
                                              const std::optional<KeySource>& source) {
  if (!format.encrypted()) {
    if (!source) return std::shared_ptr<const KeyRing>();
    return Error(EINVAL,
                 "an encryption_key is given, and the volume is not encrypted; leave it out, or "
                 "have new data encrypted with 'skerry configure'");
  }
  if (!source) return no_key(*format.encryption);
  SKERRY_ASSIGN(const VolumeKey found, load(ctx, *source));
  return unwrap(format, *source, found);
}

std::shared_ptr<ObjectStore> decorate(std::shared_ptr<ObjectStore> store,
                                      const meta::VolumeFormat& format,
                                      std::shared_ptr<const KeyRing> keys) {
  if (format.layouts.empty()) return store;
  FramedOptions options;
  // What this version does not know is of a later one, and not compressing does no harm.
  options.compression = Compression::parse(format.compression).ok()
                            ? *Compression::parse(format.compression)
                            : Compression();
  options.frame_bytes =
      options.compression.method == FrameMethod::kStored ? kEncryptedFrame : kCompressedFrame;
  options.keys = std::move(keys);
  auto stored_as = [layouts = format.layouts](std::string_view key) {
    const meta::ObjectId id = data::object_id_of_key(key);
    StoredAs as = StoredAs::kPlain;
    for (const meta::ObjectLayout& layout : layouts) {
      if (id < layout.from) break;
      as = layout.encrypted ? StoredAs::kEncrypted : StoredAs::kFramed;
    }
    return as;
  };
  return std::make_shared<FramedObjectStore>(std::move(store), std::move(stored_as),
                                             std::move(options));
}

}  // namespace skerry::vfs

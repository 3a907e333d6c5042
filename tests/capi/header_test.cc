// skerry.h and skerry.hpp as C++17 sees them.
#include <skerry/skerry.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstring>
#include <skerry/skerry.hpp>
#include <string>
#include <type_traits>

static_assert(__cplusplus == 201703L, "this file must be compiled as C++17");
static_assert(sizeof(skerry_context) == 40 && offsetof(skerry_context, cancel) == 32);
static_assert(sizeof(struct skerry_stat) == 128 && offsetof(struct skerry_stat, atime) == 64);
static_assert(sizeof(struct skerry_request) == 72 && sizeof(struct skerry_dirent) == 152);
static_assert(std::is_trivially_copyable_v<struct skerry_stat>);
static_assert(std::is_nothrow_move_constructible_v<skerry::File>);
static_assert(!std::is_copy_constructible_v<skerry::Volume>);

extern "C" const char* version_seen_from_c(void);

TEST_CASE("header: C and C++ see one version", "[capi][header]") {
  CHECK(std::strcmp(version_seen_from_c(), "0.1.0") == 0);
  std::string numbers = std::to_string(SKERRY_VERSION_MAJOR) + "." +
                        std::to_string(SKERRY_VERSION_MINOR) + "." +
                        std::to_string(SKERRY_VERSION_PATCH);
  CHECK(numbers == skerry_version());
}

TEST_CASE("header: a failure is an Error with code and sentence", "[capi][header]") {
  try {
    skerry::Volume::open("sqlite:///does/not/exist.db");
    FAIL("opened a volume that does not exist");
  } catch (const skerry::Error& error) {
    CHECK(error.code() == 2);
    CHECK(std::string(error.what()).find("/does/not/exist.db") != std::string::npos);
  }
}

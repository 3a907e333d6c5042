#include <skerry/skerry.hpp>

int main() {
  try {
    skerry::Volume volume = skerry::Volume::open("sqlite:///does/not/exist.db");
  } catch (const skerry::Error& error) {
    return error.code() > 0 ? 0 : 1;
  }
  return 1;
}

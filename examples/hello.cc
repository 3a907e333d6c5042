// Writes, reads and renames a file in a volume. Build: see README.md.
#include <fcntl.h>

#include <cerrno>
#include <iostream>
#include <skerry/skerry.hpp>

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: hello sqlite:///abs/path/vol.db\n";
    return 2;
  }
  try {
    skerry::Volume::format(argv[1]);  // data goes to vol.db.data beside it
  } catch (const skerry::Error& error) {
    if (error.code() != EEXIST) throw;
  }
  skerry::Volume volume = skerry::Volume::open(argv[1]);
  volume.write_file("/draft.txt", "hello, volume\n");  // durable when it returns
  volume.rename("/draft.txt", "/hello.txt");
  std::cout << volume.read_file("/hello.txt");
  volume.close();
  return 0;
} catch (const skerry::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}

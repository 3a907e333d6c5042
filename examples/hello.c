/* Writes, reads and renames a file in a volume. Build: see README.md. */
#include <errno.h>
#include <fcntl.h>
#include <skerry/skerry.h>
#include <stdio.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, skerry_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: hello sqlite:///abs/path/vol.db\n");
    return 2;
  }
  int result = skerry_format(argv[1], NULL); /* data goes to vol.db.data beside it */
  if (result != 0 && result != -EEXIST) return fail("format");

  skerry_volume* volume = NULL;
  if (skerry_volume_open(argv[1], NULL, &volume) != 0) return fail("open volume");

  skerry_file* file = NULL;
  if (skerry_open(volume, NULL, "/draft.txt", O_CREAT | O_RDWR | O_TRUNC, 0644, &file) != 0)
    return fail("open");
  if (skerry_pwrite(file, NULL, "hello, volume\n", 14, 0) != 14) return fail("write");
  if (skerry_close(file, NULL) != 0) return fail("close"); /* durable from here on */

  if (skerry_rename(volume, NULL, "/draft.txt", "/hello.txt") != 0) return fail("rename");

  char text[64];
  int64_t size = skerry_read_file(volume, NULL, "/hello.txt", text, sizeof text);
  if (size < 0) return fail("read");
  printf("%.*s", (int)size, text);
  return skerry_volume_close(volume) == 0 ? 0 : fail("close volume");
}

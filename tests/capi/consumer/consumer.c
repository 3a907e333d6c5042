/* consumer <directory that does not exist>: a volume, a file in it, and its contents back. */
#include <skerry/skerry.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int failed(const char* call) {
  fprintf(stderr, "%s: %s\n", call, skerry_last_error());
  return 1;
}

int main(int argc, char** argv) {
  char url[512];
  char bytes[16];
  skerry_volume* volume = NULL;
  if (argc != 2 || mkdir(argv[1], 0755) != 0) return 1;
  snprintf(url, sizeof url, "sqlite://%s/volume.db", argv[1]);
  if (skerry_format(url, NULL) != 0) return failed("format");
  if (skerry_volume_open(url, NULL, &volume) != 0) return failed("open");
  if (skerry_write_file(volume, NULL, "/greeting", "hello", 5, 0644) != 0) return failed("write");
  if (skerry_read_file(volume, NULL, "/greeting", bytes, sizeof bytes) != 5) return failed("read");
  if (memcmp(bytes, "hello", 5) != 0) return 1;
  if (skerry_volume_close(volume) != 0) return failed("close");
  return 0;
}

/* Loaded before SoftHSM (LD_PRELOAD), it kills its process with SIGKILL in the stead of opening the n-th object of a token for writing, n from the
 * environment. It counts while that is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef int (*open_fn)(const char *path, int flags, ...);

static int seen;

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
  va_end(rest);
  const char *at = getenv("PERSO_TEST_KILL_WRITE");
  if (at && flags & (O_WRONLY | O_RDWR) && strstr(path, ".object") && ++seen == atoi(at))
    raise(SIGKILL);
  return ((open_fn)dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}

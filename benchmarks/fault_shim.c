/* Lets the Nth change to files below a folder fail, for every program that it is preloaded into.

   FAULT_DIR   the folder (absolute); changes elsewhere are left alone and not counted
   FAULT_AT    which change it is, from 1
   FAULT_MODE  kill: the process dies before the change;  fail: that change fails with EIO;
               full: that write and all later ones fail with ENOSPC;  count: nothing fails

   The settings are read at each change, so a program may set them for itself; fault_changes() tells it
   how many changes there were. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long changes;

static int below(const char *path) {
    const char *folder = getenv("FAULT_DIR");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int open_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Counts one change; returns whether it must fail, with errno set. */
static int faulty(int is_write) {
    long now = atomic_fetch_add(&changes, 1) + 1;
    const char *at = getenv("FAULT_AT"), *mode = getenv("FAULT_MODE");
    if (!at || !mode || now < atol(at)) return 0;
    if (strcmp(mode, "full") == 0 && is_write) { errno = ENOSPC; return 1; }
    if (now > atol(at)) return 0;
    if (strcmp(mode, "kill") == 0) kill(getpid(), SIGKILL);
    if (strcmp(mode, "fail") == 0) { errno = EIO; return 1; }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, write, int, const void *, size_t);
    return open_below(fd) && faulty(1) ? -1 : real(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return open_below(fd) && faulty(1) ? -1 : real(fd, data, n, at);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return open_below(fd) && faulty(1) ? -1 : real(fd, data, n, at);
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return open_below(fd) && faulty(1) ? -1 : real(fd, parts, n);
}
size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    return open_below(fileno(file)) && faulty(1) ? 0 : real(data, size, n, file);
}
int ftruncate(int fd, off_t length) {
    REAL(int, ftruncate, int, off_t);
    return open_below(fd) && faulty(0) ? -1 : real(fd, length);
}
int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    return open_below(fd) && faulty(0) ? -1 : real(fd, length);
}
int fsync(int fd) {
    REAL(int, fsync, int);
    return open_below(fd) && faulty(0) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return open_below(fd) && faulty(0) ? -1 : real(fd);
}
int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return below(to) && faulty(0) ? -1 : real(from, to);
}
int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return below(path) && faulty(0) ? -1 : real(path);
}

long fault_changes(void) { return atomic_load(&changes); }

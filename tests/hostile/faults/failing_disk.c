/* Lets the N-th write below a folder fail, and all after it: cc -shared -fPIC -o failing_disk.so failing_disk.c -ldl
 * LD_PRELOAD it with FAULT_FOLDER set; fault_arm(N, errno) from the process itself; 0 only counts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long calls = 0, first = 0;
static int number = 0, armed = 0;

void fault_arm(long nth, int error) { calls = 0; first = nth; number = error; armed = 1; }
long fault_disarm(void) { armed = 0; return calls; }

static int below(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(void) {
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (first == 0 || calls < first) return 0;
    errno = number;
    return 1;
}

static int fails_at(int file) {
    char link[64], path[4096];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path) && fails();
}

static int fails_in(const char *path, int flags) {
    return armed && (flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(path) && fails();
}

#define NEXT(name) (name##_type) dlsym(RTLD_NEXT, #name)
typedef ssize_t (*write_type)(int, const void *, size_t);
ssize_t write(int file, const void *from, size_t size) {
    static write_type next; if (!next) next = NEXT(write);
    return fails_at(file) ? -1 : next(file, from, size);
}
typedef ssize_t (*pwrite64_type)(int, const void *, size_t, off64_t);
ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
    static pwrite64_type next; if (!next) next = NEXT(pwrite64);
    return fails_at(file) ? -1 : next(file, from, size, at);
}
typedef int (*fsync_type)(int);
int fsync(int file) { static fsync_type next; if (!next) next = NEXT(fsync); return fails_at(file) ? -1 : next(file); }
typedef int (*rename_type)(const char *, const char *);
int rename(const char *from, const char *to) {
    static rename_type next; if (!next) next = NEXT(rename);
    return armed && below(to) && fails() ? -1 : next(from, to);
}
#define OPENER(name) \
    typedef int (*name##_type)(const char *, int, ...); \
    int name(const char *path, int flags, ...) { \
        static name##_type next; if (!next) next = NEXT(name); \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        return fails_in(path, flags) ? -1 : next(path, flags, mode); \
    }
OPENER(open)
OPENER(open64)

/*
 * The functions with variable arguments: they read the argument that may be there and
 * call the function in Rust of the same meaning. Nothing here is exported: the exported
 * names are in hooks/variadic.rs and jump here, since rustc exports only its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>

extern int cachefs_preload_open(const char *path, int flags, unsigned mode);
extern int cachefs_preload_open64(const char *path, int flags, unsigned mode);
extern int cachefs_preload_openat(int dir, const char *path, int flags, unsigned mode);
extern int cachefs_preload_openat64(int dir, const char *path, int flags, unsigned mode);
extern int cachefs_preload_fcntl(int fd, int command, void *argument);
extern int cachefs_preload_fcntl64(int fd, int command, void *argument);
extern int cachefs_preload_ioctl(int fd, unsigned long command, void *argument);

/* As open(2) says: there is a mode only with these. */
#define MODE_OF(last)                                                    \
    unsigned mode = 0;                                                   \
    if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {    \
        va_list list;                                                    \
        va_start(list, last);                                            \
        mode = va_arg(list, unsigned);                                   \
        va_end(list);                                                    \
    }

int cachefs_preload_v_open(const char *path, int flags, ...) {
    MODE_OF(flags)
    return cachefs_preload_open(path, flags, mode);
}

int cachefs_preload_v_open64(const char *path, int flags, ...) {
    MODE_OF(flags)
    return cachefs_preload_open64(path, flags, mode);
}

int cachefs_preload_v_openat(int dir, const char *path, int flags, ...) {
    MODE_OF(flags)
    return cachefs_preload_openat(dir, path, flags, mode);
}

int cachefs_preload_v_openat64(int dir, const char *path, int flags, ...) {
    MODE_OF(flags)
    return cachefs_preload_openat64(dir, path, flags, mode);
}

/* The argument is a number or a pointer, or not there; glibc reads it in every case. */
#define ARGUMENT                            \
    va_list list;                           \
    va_start(list, command);                \
    void *argument = va_arg(list, void *);  \
    va_end(list);

int cachefs_preload_v_fcntl(int fd, int command, ...) {
    ARGUMENT
    return cachefs_preload_fcntl(fd, command, argument);
}

int cachefs_preload_v_fcntl64(int fd, int command, ...) {
    ARGUMENT
    return cachefs_preload_fcntl64(fd, command, argument);
}

int cachefs_preload_v_ioctl(int fd, unsigned long command, ...) {
    ARGUMENT
    return cachefs_preload_ioctl(fd, command, argument);
}

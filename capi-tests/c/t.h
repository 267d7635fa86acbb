/*
 * Helpers of the C tests. A test is one program about one behaviour; it exits
 * with 0 when that is as promised, 77 when it cannot be tested here (with the
 * reason as its last line), and 1 when a check failed.
 *
 * T_DIR is an empty directory for it alone, T_ENGINE the engine to test. To run
 * one by hand: T_DIR=$(mktemp -d) T_ENGINE=psync ./the-test
 */
#ifndef T_H
#define T_H

#include <cachefs.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A test uses some of these. */
#define T_HELPER static __attribute__((unused))

enum {
    /* Exit status of a test that cannot be run here. */
    T_SKIPPED = 77,
    /* Chunk size of tests that need several chunks; the default is larger. */
    T_CHUNK = 65536,
    /* No wait in a test is longer; each is over in much less. */
    T_WAIT_SECONDS = 40,
    /* An origin's file is not trusted until its last change is this long ago. */
    T_SETTLE_MS = 50,
};

/* --- checks --------------------------------------------------------------- */

T_HELPER __attribute__((noreturn, format(printf, 3, 4))) void
t_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n  last error: \"%s\"\n", cachefs_last_error());
    va_end(arguments);
    fflush(NULL);
    /* Other threads may be in the middle of things: no atexit, no destructors. */
    _exit(1);
}

T_HELPER __attribute__((noreturn, format(printf, 1, 2))) void t_skip(const char *reason, ...) {
    va_list arguments;
    va_start(arguments, reason);
    vprintf(reason, arguments);
    va_end(arguments);
    printf("\n");
    fflush(NULL);
    _exit(T_SKIPPED);
}

/* The name of a negative errno, or "" for what is none. */
T_HELPER const char *t_errno_name(int64_t result) {
    const char *name = result < 0 && result > -4096 ? strerrorname_np((int)-result) : NULL;
    return name != NULL ? name : "";
}

T_HELPER void
t_check_equal(const char *file, int line, const char *what, int64_t got, int64_t expected) {
    if (got != expected)
        t_fail(file, line, "%s\n  got %" PRId64 " %s, expected %" PRId64 " %s", what, got,
               t_errno_name(got), expected, t_errno_name(expected));
}

/* The expression is true. */
#define CHECK(expression)                                                                   \
    do {                                                                                    \
        errno = 0;                                                                          \
        if (!(expression))                                                                  \
            t_fail(__FILE__, __LINE__, "%s\n  errno: %s", #expression, strerror(errno));    \
    } while (0)

/* The integer expression has this value. */
#define CHECK_EQ(expression, expected)                                                      \
    t_check_equal(__FILE__, __LINE__, #expression, (int64_t)(expression), (int64_t)(expected))

/* The call fails with this negative errno, and says so in words. */
#define CHECK_ERROR(call, expected)                                                         \
    do {                                                                                    \
        CHECK_EQ(call, expected);                                                           \
        if (cachefs_last_error()[0] == '\0')                                                \
            t_fail(__FILE__, __LINE__, "%s\n  failed without a text", #call);               \
    } while (0)

/* The call returns 0 and leaves no error text behind. */
#define CHECK_OK(call)                                                                      \
    do {                                                                                    \
        CHECK_EQ(call, 0);                                                                  \
        if (cachefs_last_error()[0] != '\0')                                                \
            t_fail(__FILE__, __LINE__, "%s\n  succeeded with a text", #call);               \
    } while (0)

/* --- time ----------------------------------------------------------------- */

T_HELPER void t_sleep_ms(long milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0)
        continue;
}

T_HELPER int64_t t_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Waits until files made just now are old enough to be cached. */
T_HELPER void t_settle(void) {
    t_sleep_ms(T_SETTLE_MS);
}

/* Waits until the condition holds, which another thread brings about. */
#define CHECK_SOON(condition)                                                               \
    do {                                                                                    \
        int64_t t_end = t_now_ns() + T_WAIT_SECONDS * INT64_C(1000000000);                  \
        while (!(condition)) {                                                              \
            if (t_now_ns() > t_end)                                                         \
                t_fail(__FILE__, __LINE__, "%s\n  not within %d s", #condition,             \
                       T_WAIT_SECONDS);                                                     \
            t_sleep_ms(1);                                                                  \
        }                                                                                   \
    } while (0)

/* --- files ---------------------------------------------------------------- */

/* A path in the test's directory; valid until this thread asked for 16 more. */
T_HELPER __attribute__((format(printf, 1, 2))) const char *t_path(const char *format, ...) {
    static _Thread_local char paths[16][4096];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 16];
    const char *directory = getenv("T_DIR");
    if (directory == NULL)
        t_fail(__FILE__, __LINE__, "T_DIR is not set");
    int length = snprintf(path, sizeof paths[0], "%s/", directory);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + length, sizeof paths[0] - (size_t)length, format, arguments);
    va_end(arguments);
    return path;
}

/* The byte at `offset` of every file made with this seed. */
T_HELPER unsigned char t_byte(uint64_t seed, uint64_t offset) {
    uint64_t word = (seed << 40) + offset / 8 + UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (unsigned char)((word ^ (word >> 31)) >> (offset % 8 * 8));
}

T_HELPER void t_content(unsigned char *buffer, uint64_t length, uint64_t seed, uint64_t offset) {
    for (uint64_t i = 0; i < length; i++)
        buffer[i] = t_byte(seed, offset + i);
}

/* Fails with the place of the first byte that is not the file's. */
T_HELPER void t_check_content(const char *file, int line, const void *buffer, uint64_t length,
                              uint64_t seed, uint64_t offset) {
    const unsigned char *bytes = buffer;
    for (uint64_t i = 0; i < length; i++) {
        if (bytes[i] != t_byte(seed, offset + i))
            t_fail(file, line, "byte %" PRIu64 " of the file: got %02x, expected %02x", offset + i,
                   bytes[i], t_byte(seed, offset + i));
    }
}

#define CHECK_CONTENT(buffer, length, seed, offset)                                         \
    t_check_content(__FILE__, __LINE__, buffer, length, seed, offset)

/* Writes a file of `size` bytes; its directory must exist. */
T_HELPER void t_write_file(const char *path, uint64_t size, uint64_t seed) {
    unsigned char block[8192];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    for (uint64_t done = 0; done < size;) {
        uint64_t length = size - done < sizeof block ? size - done : sizeof block;
        t_content(block, length, seed, done);
        CHECK_EQ(write(fd, block, length), length);
        done += length;
    }
    CHECK_EQ(close(fd), 0);
}

/* Makes origin/NAME, and origin itself, with a file old enough to be cached. */
T_HELPER void t_make_origin_file(const char *name, uint64_t size, uint64_t seed) {
    CHECK(mkdir(t_path("origin"), 0755) == 0 || errno == EEXIST);
    t_write_file(t_path("origin/%s", name), size, seed);
    t_settle();
}

/* Number of this process's open descriptors. */
T_HELPER unsigned t_count_descriptors(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* --- caches, origins, files ----------------------------------------------- */

/* Skips the test where the kernel refuses io_uring, as it does in many containers. */
T_HELPER void t_require_io_uring(void) {
    _Alignas(8) char parameters[120] = {0}; /* struct io_uring_params */
    int ring = (int)syscall(SYS_io_uring_setup, 1, parameters);
    if (ring < 0)
        t_skip("io_uring is refused here: %s", strerror(errno));
    CHECK_EQ(close(ring), 0);
}

/* The engine under test; skips the test if it cannot be had. */
T_HELPER uint32_t t_engine(void) {
    const char *name = getenv("T_ENGINE");
    if (name == NULL)
        return CACHEFS_ENGINE_AUTO;
    CHECK(strcmp(name, "uring") == 0 || strcmp(name, "psync") == 0);
    if (name[0] == 'p')
        return CACHEFS_ENGINE_PSYNC;
    t_require_io_uring();
    return CACHEFS_ENGINE_URING;
}

/*
 * True under valgrind. It has other threads wait while one is in io_uring_enter(),
 * which for us is for ever: there, no cache may use the engine of its choice.
 */
T_HELPER bool t_under_valgrind(void) {
    return getenv("T_VALGRIND") != NULL;
}

/* Options for the engine under test, with small chunks. */
T_HELPER cachefs_cache_options t_options(void) {
    cachefs_cache_options options;
    CHECK_OK(cachefs_cache_options_init(&options, sizeof options));
    options.engine = t_engine();
    options.chunk_bytes = T_CHUNK;
    /* The disk that the tests run on may be nearly full. */
    options.space_run_percent = 3;
    options.space_cull_percent = 2;
    options.space_stop_percent = 1;
    options.objects_max = 4096;
    /* That hits are slow now and then is no reason here to fill less. */
    options.fill_latency_percent = 1000000;
    return options;
}

T_HELPER cachefs_cache *t_cache_open_with(const char *dir, const cachefs_cache_options *options) {
    cachefs_report report = {.struct_size = sizeof report};
    cachefs_cache *cache = NULL;
    CHECK_OK(cachefs_cache_open(dir, options, &cache));
    CHECK(cache != NULL);
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK(options->engine == CACHEFS_ENGINE_AUTO || report.engine == options->engine);
    return cache;
}

/* The cache in the directory `cache` of the test. */
T_HELPER cachefs_cache *t_cache_open(void) {
    cachefs_cache_options options = t_options();
    return t_cache_open_with(t_path("cache"), &options);
}

/*
 * valgrind does not know openat2(2) either, with which directory origins open
 * their files. So the test's directory is brought in by callbacks there.
 */
T_HELPER int32_t t_directory_stat(void *user, const char *path, cachefs_origin_attr *attr) {
    struct stat status;
    (void)user;
    if (stat(t_path("origin/%s", path), &status) != 0)
        return -errno;
    attr->size = (uint64_t)status.st_size;
    attr->mtime_ns = status.st_mtim.tv_sec * INT64_C(1000000000) + status.st_mtim.tv_nsec;
    attr->ctime_ns = status.st_ctim.tv_sec * INT64_C(1000000000) + status.st_ctim.tv_nsec;
    attr->inode = status.st_ino;
    return 0;
}

T_HELPER int32_t t_directory_read(void *user, const char *path, const cachefs_origin_attr *version,
                                  void *buffer, uint64_t length, uint64_t offset,
                                  cachefs_origin_token *token) {
    (void)user, (void)version;
    int fd = open(t_path("origin/%s", path), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = pread(fd, buffer, length, (off_t)offset);
    CHECK_EQ(cachefs_origin_complete(token, got < 0 ? -errno : got), 0);
    CHECK_EQ(close(fd), 0);
    return 0;
}

/* Skips a test of what only a directory origin does. */
T_HELPER void t_require_directory_origin(void) {
    if (t_under_valgrind())
        t_skip("valgrind does not know openat2");
}

/* The directory `origin` of the test. */
T_HELPER cachefs_origin *t_origin_open_dir(cachefs_cache *cache) {
    const cachefs_origin_ops callbacks = {
        .struct_size = sizeof callbacks, .stat = t_directory_stat, .read = t_directory_read};
    cachefs_origin *origin = NULL;
    if (t_under_valgrind())
        CHECK_OK(cachefs_origin_open(cache, "directory", &callbacks, NULL, NULL, &origin));
    else
        CHECK_OK(cachefs_origin_open_dir(cache, t_path("origin"), NULL, &origin));
    CHECK(origin != NULL);
    return origin;
}

T_HELPER cachefs_file *t_file_open(cachefs_origin *origin, const char *path) {
    cachefs_file *file = NULL;
    CHECK_OK(cachefs_file_open(origin, path, 0, &file));
    CHECK(file != NULL);
    return file;
}

T_HELPER cachefs_queue *t_queue_open(cachefs_cache *cache, uint32_t depth, uint64_t flags) {
    cachefs_queue_options options = {.struct_size = sizeof options, .depth = depth, .flags = flags};
    cachefs_queue *queue = NULL;
    CHECK_OK(cachefs_queue_open(cache, &options, &queue));
    CHECK(queue != NULL);
    return queue;
}

T_HELPER cachefs_statistics t_statistics(cachefs_cache *cache) {
    cachefs_statistics statistics = {.struct_size = sizeof statistics};
    CHECK_OK(cachefs_stats(cache, &statistics));
    return statistics;
}

T_HELPER cachefs_residency t_residency(cachefs_file *file) {
    cachefs_residency residency = {.struct_size = sizeof residency};
    CHECK_OK(cachefs_file_residency(file, &residency));
    return residency;
}

/*
 * Reads a range of a file of `size` bytes and checks the count, the bytes, and
 * that nothing is written behind them.
 */
T_HELPER void t_check_read(const char *source, int line, cachefs_file *file, uint64_t size,
                           uint64_t seed, uint64_t length, uint64_t offset) {
    enum { GUARD = 64 };
    uint64_t expected = offset >= size ? 0 : length < size - offset ? length : size - offset;
    unsigned char *buffer = malloc(length + GUARD);
    CHECK(buffer != NULL);
    memset(buffer, 0xa5, length + GUARD);
    t_check_equal(source, line, "bytes read", cachefs_read(file, buffer, length, offset),
                  (int64_t)expected);
    t_check_content(source, line, buffer, expected, seed, offset);
    for (uint64_t i = expected; i < length + GUARD; i++)
        t_check_equal(source, line, "a byte behind the end", buffer[i], 0xa5);
    free(buffer);
}

#define CHECK_READ(file, size, seed, length, offset)                                        \
    t_check_read(__FILE__, __LINE__, file, size, seed, length, offset)

/* --- callbacks ------------------------------------------------------------ */

/* Collects completions of callback requests. Zero is ready to use. */
struct t_completions {
    pthread_mutex_t lock;
    unsigned count;
    cachefs_completion last;
};

T_HELPER void t_complete(void *user, const cachefs_completion *completion) {
    struct t_completions *completions = user;
    pthread_mutex_lock(&completions->lock);
    completions->count++;
    completions->last = *completion;
    pthread_mutex_unlock(&completions->lock);
}

T_HELPER unsigned t_completed(struct t_completions *completions) {
    pthread_mutex_lock(&completions->lock);
    unsigned count = completions->count;
    pthread_mutex_unlock(&completions->lock);
    return count;
}

/* Waits for the `count`-th completion and returns the last one. */
T_HELPER cachefs_completion t_completion(struct t_completions *completions, unsigned count) {
    CHECK_SOON(t_completed(completions) >= count);
    CHECK_EQ(t_completed(completions), count);
    pthread_mutex_lock(&completions->lock);
    cachefs_completion last = completions->last;
    pthread_mutex_unlock(&completions->lock);
    return last;
}

/* Counts its calls; for free callbacks, whose user pointer is an atomic_uint. */
T_HELPER void t_count_free(void *user) {
    atomic_fetch_add((atomic_uint *)user, 1);
}

#endif /* T_H */

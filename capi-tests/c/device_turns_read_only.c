/*
 * An ext4 that turns read-only under an open cache, as it does after an error: reads
 * go on, nothing of it reaches a reader, and the report says why nothing is stored.
 * Mounted anew it stores again. Nobody can remount it so while the cache is open.
 */
#include "t_mount.h"

#include <stdlib.h>
#include <sys/wait.h>

enum { SIZE = 8 * T_CHUNK, SEED = 76 };

static cachefs_cache *cache;
static cachefs_origin *origin;

/* Runs a command; skips the test where it does not work. */
static __attribute__((format(printf, 1, 2))) void shell(const char *format, ...) {
    char command[8192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        t_skip("this does not work here: %s", command);
}

static void mount_disk(void) {
    shell("mount -o loop,errors=remount-ro '%s' '%s'", t_path("image"), t_path("disk"));
}

/* As the driver does when it finds its metadata damaged. */
static void turn_read_only(void) {
    shell("device=$(findmnt -n -o SOURCE '%s') &&"
          " echo 1 > /sys/fs/ext4/\"${device#/dev/}\"/trigger_fs_error", t_path("disk"));
    CHECK(open(t_path("disk/probe"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
}

/* What is not on the disk by now is lost with the error. */
static void sync_disk(void) {
    int fd = open(t_path("disk"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(syncfs(fd), 0);
    CHECK_EQ(close(fd), 0);
}

static void open_cache(void) {
    cachefs_cache_options options = t_options();
    cache = t_cache_open_with(t_path("disk/cache"), &options);
    origin = t_origin_open_dir(cache);
}

static void close_cache(void) {
    cachefs_origin_close(origin);
    CHECK_OK(cachefs_cache_close(cache));
}

static void check_state(uint32_t state, const char *reason) {
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.state, state);
    CHECK(strstr(report.state_reason, reason) != NULL);
}

/* One chunk by each way of reading, from the file's `first` on. */
static void check_three_chunks(cachefs_file *file, uint64_t first) {
    static unsigned char buffer[T_CHUNK];
    uint64_t offset = first * T_CHUNK;
    CHECK_READ(file, SIZE, SEED, T_CHUNK, offset);

    offset += T_CHUNK;
    struct t_completions callback = {0};
    CHECK_OK(cachefs_read_async(file, buffer, T_CHUNK, offset, t_complete, &callback, NULL));
    CHECK_EQ(t_completion(&callback, 1).result, T_CHUNK);
    CHECK_CONTENT(buffer, T_CHUNK, SEED, offset);

    offset += T_CHUNK;
    cachefs_completion done;
    cachefs_queue *queue = t_queue_open(cache, 1, 0);
    CHECK_OK(cachefs_queue_read(queue, file, buffer, T_CHUNK, offset, 1));
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.result, T_CHUNK);
    CHECK_CONTENT(buffer, T_CHUNK, SEED, offset);
    cachefs_queue_close(queue);
}

static void check_error(void) {
    open_cache();
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, 3 * T_CHUNK, NULL, NULL), 3 * T_CHUNK);
    sync_disk();
    turn_read_only();

    /* What is there is served; what is not comes from the origin, again and again. */
    check_three_chunks(file, 0);
    check_three_chunks(file, 3);
    check_state(CACHEFS_STATE_DEGRADED, "Read-only");
    check_three_chunks(file, 3);
    CHECK_EQ(t_residency(file).chunks_present, 3);
    CHECK_ERROR(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), -EROFS);
    cachefs_file *other = t_file_open(origin, "other");
    CHECK_READ(other, SIZE, SEED, SIZE, 0);
    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.errors, 0);
    CHECK_EQ(statistics.chunks_stored, 3);
    cachefs_file_close(other);
    cachefs_file_close(file);
    close_cache();

    /* The kernel drops what rings had registered some time after their end. */
    CHECK_SOON(umount(t_path("disk")) == 0);
    mount_disk();
    open_cache();
    file = t_file_open(origin, "file");
    CHECK_EQ(t_residency(file).chunks_present, 3);
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    check_state(CACHEFS_STATE_NORMAL, "");
    cachefs_file_close(file);
    close_cache();
}

/* An open cache has files open for writing, so the kernel keeps its file system so. */
static void check_remount(void) {
    open_cache();
    CHECK_EQ(mount("none", t_path("disk"), "none", MS_REMOUNT | MS_RDONLY, NULL), -1);
    CHECK_EQ(errno, EBUSY);
    check_state(CACHEFS_STATE_NORMAL, "");
    close_cache();
}

int main(void) {
    t_require_directory_origin();
    if (geteuid() != 0)
        t_skip("only root may mount an ext4");
    t_enter_namespace();
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
        t_skip("mounts cannot be made private: %s", strerror(errno));
    t_make_origin_file("file", SIZE, SEED);
    t_make_origin_file("other", SIZE, SEED);
    CHECK_EQ(mkdir(t_path("disk"), 0755), 0);
    shell("truncate -s 32M '%s' && mke2fs -q -F -t ext4 '%s'", t_path("image"), t_path("image"));
    mount_disk();
    check_error();
    check_remount();
    CHECK_SOON(umount(t_path("disk")) == 0);
    return 0;
}

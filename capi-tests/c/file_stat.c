/* cachefs_file_stat() tells the version that is open. */
#include "t.h"
#include "t_origin.h"

static cachefs_file_info info_of(cachefs_origin *origin, const char *path) {
    cachefs_file *file = t_file_open(origin, path);
    cachefs_file_info info = {.struct_size = sizeof info};
    CHECK_OK(cachefs_file_stat(file, &info));
    cachefs_file_close(file);
    return info;
}

static int64_t nanoseconds(struct timespec time) {
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(void) {
    t_make_origin_file("file", 12345, 1);
    t_make_origin_file("other", 12345, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);

    struct stat status;
    CHECK_EQ(stat(t_path("origin/file"), &status), 0);
    cachefs_file_info info = info_of(origin, "file");
    CHECK_EQ(info.size, 12345);
    CHECK_EQ(info.mtime_ns, nanoseconds(status.st_mtim));
    CHECK_EQ(info.ctime_ns, nanoseconds(status.st_ctim));
    CHECK_EQ(info.inode, status.st_ino);

    CHECK_EQ(info_of(origin, "file").version, info.version);
    CHECK(info_of(origin, "other").version != info.version);
    t_make_origin_file("file", 12345, 2);
    CHECK(info_of(origin, "file").version != info.version);

    struct t_origin memory;
    t_origin_init(&memory, 99, 1);
    cachefs_origin *callbacks = t_origin_open(cache, &memory);
    info = info_of(callbacks, "any");
    CHECK_EQ(info.size, 99);
    CHECK_EQ(info.mtime_ns, memory.mtime_ns);
    CHECK_EQ(info.inode, 0);
    memory.tag = "second";
    CHECK(info_of(callbacks, "any").version != info.version);

    cachefs_origin_close(callbacks);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

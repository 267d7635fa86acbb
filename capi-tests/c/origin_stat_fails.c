/* What `stat` returns is what cachefs_file_open() returns. */
#include "t.h"
#include "t_origin.h"

static int32_t stat_bad_tag(void *user, const char *path, cachefs_origin_attr *attr) {
    int32_t result = t_origin_stat(user, path, attr);
    attr->tag_length = CACHEFS_TAG_MAX + 1;
    return result;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, 1000, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = NULL;

    CHECK_ERROR(cachefs_file_open(origin, "missing", 0, &file), -ENOENT);
    memory.stat_result = -EACCES;
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, &file), -EACCES);
    memory.stat_result = -EHOSTUNREACH;
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, &file), -EHOSTUNREACH);
    /* No errno at all: neither success nor something to hand on. */
    memory.stat_result = 5;
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, &file), -EIO);
    CHECK(file == NULL);
    memory.stat_result = 0;
    file = t_file_open(origin, "file");
    CHECK_READ(file, 1000, 1, 1000, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);

    cachefs_origin_ops ops = t_origin_ops();
    ops.stat = stat_bad_tag;
    CHECK_OK(cachefs_origin_open(cache, "bad tag", &ops, &memory, NULL, &origin));
    file = NULL;
    CHECK_ERROR(cachefs_file_open(origin, "file", 0, &file), -EIO);
    CHECK(file == NULL);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

/*
 * A file that changed at the origin is read anew, and the object of its old
 * version is removed. A file that is open moves on to the new version when a
 * read finds it; what it has of the old one is served until then.
 */
#include "t.h"

enum { SIZE = 2 * T_CHUNK };

int main(void) {
    t_make_origin_file("file", SIZE, 1);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, 1, SIZE, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);
    CHECK_EQ(t_statistics(cache).cached_objects, 1);

    /* The same size: only the times tell. */
    t_make_origin_file("file", SIZE, 2);
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};
    file = t_file_open(origin, "file");
    CHECK_EQ(t_residency(file).chunks_present, 0);
    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_MISS);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_VERSION_CHANGED);
    CHECK_CONTENT(buffer, SIZE, 2, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);
    CHECK_SOON(t_statistics(cache).cached_objects == 1);

    /* Another size; and with the old version still open. */
    cachefs_file *old = t_file_open(origin, "file");
    t_make_origin_file("file", SIZE / 2, 3);
    file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE / 2, 3, SIZE, 0);
    int64_t got = cachefs_read(old, buffer, SIZE, 0);
    CHECK(got == SIZE || got == SIZE / 2);
    CHECK_CONTENT(buffer, (uint64_t)got, got == SIZE ? 2 : 3, 0);
    cachefs_file_close(old);
    cachefs_file_close(file);
    CHECK_SOON(t_statistics(cache).cached_objects == 1);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

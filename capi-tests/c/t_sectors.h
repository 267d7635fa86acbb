/* Direct objects on a device with sectors of a chosen size. */
#ifndef T_SECTORS_H
#define T_SECTORS_H

#include "t_direct.h"
#include "t_loop.h"

enum { SIZE = 2 * T_CHUNK + 3 * 512 + 7, SEED = 53 };

/* Reads around every multiple of 512 bytes near the ends of the file, its pages
 * and its chunks, to addresses off the sectors and on them. */
T_HELPER int t_check_sectors(unsigned sector_size) {
    static const uint64_t points[] = {0,           1,
                                      511,         512,
                                      513,         4095,
                                      4096,        4097,
                                      T_CHUNK - 1, T_CHUNK,
                                      SIZE - 519,  SIZE - 7,
                                      SIZE - 8,    SIZE};
    enum { POINTS = sizeof points / sizeof *points };
    t_make_origin_file("file", SIZE, SEED);
    t_mount_loop("disk", sector_size);
    cachefs_cache_options options = t_direct_options();
    cachefs_cache *cache = t_cache_open_with(t_path("disk/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    int data = t_open_data("disk/cache");
    CHECK_EQ(fsync(data), 0);
    CHECK_EQ(posix_fadvise(data, 0, 0, POSIX_FADV_DONTNEED), 0);

    unsigned char *memory = aligned_alloc(T_PAGE, (SIZE / T_PAGE + 3) * T_PAGE);
    CHECK(memory != NULL);
    for (size_t shift = 0; shift <= 1024; shift = shift == 0 ? 1 : shift == 1 ? 512 : 2 * shift) {
        for (int i = 0; i < POINTS; i++) {
            for (int j = 0; j < POINTS; j++) {
                uint64_t offset = points[i], length = points[j], left = SIZE - offset;
                int64_t count = cachefs_read(file, memory + shift, length, offset);
                CHECK_EQ(count, length < left ? length : left);
                CHECK_CONTENT(memory + shift, (uint64_t)count, SEED, offset);
            }
        }
    }
    CHECK_EQ(t_pages_cached(data), 0);
    CHECK_EQ(t_statistics(cache).misses, 0);
    CHECK_EQ(t_statistics(cache).bypasses, 0);

    free(memory);
    CHECK_EQ(close(data), 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

#endif /* T_SECTORS_H */

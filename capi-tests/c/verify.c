/*
 * A damaged chunk is found, dropped and fetched again; the search tells how far it is,
 * and ends when asked to. Damaged metadata cost their object once nobody has it open.
 */
#define _XOPEN_SOURCE 700
#include <ftw.h>

#include "t.h"

enum { CHUNKS = 8, SIZE = CHUNKS * T_CHUNK, SEED = 81, DAMAGED = 3 };

static const char *suffix;
static char found_file[4096];

static int look(const char *path, const struct stat *status, int type, struct FTW *where) {
    const char *end = strrchr(path, '.');
    (void)status, (void)where;
    if (type == FTW_F && end != NULL && strcmp(end, suffix) == 0) {
        CHECK(found_file[0] == 0);
        snprintf(found_file, sizeof found_file, "%s", path);
    }
    return 0;
}

/* Flips a bit of the only file of the cache whose name ends so. */
static void damage(const char *end, off_t offset) {
    unsigned char byte;
    suffix = end;
    found_file[0] = 0;
    CHECK_EQ(nftw(t_path("cache"), look, 8, FTW_PHYS), 0);
    int fd = open(found_file, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, &byte, 1, offset), 1);
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, offset), 1);
    CHECK_EQ(close(fd), 0);
}

/* What the callback was told. */
struct told {
    unsigned calls, cancel_at;
    cachefs_verification last;
};

static int32_t tell(void *user, const cachefs_verification *found) {
    struct told *told = user;
    CHECK_EQ(found->struct_size, sizeof *found);
    CHECK(found->bytes >= told->last.bytes && found->bytes <= SIZE);
    told->last = *found;
    told->calls++;
    return told->calls == told->cancel_at;
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    struct told told = {0};
    cachefs_verification found = {.struct_size = sizeof found};

    /* Nothing is cached yet. */
    CHECK_OK(cachefs_file_verify(file, tell, &told, &found));
    CHECK_EQ(found.bytes + told.calls, 0);

    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_OK(cachefs_verify(cache, tell, &told, &found));
    CHECK_EQ(found.objects, 1);
    CHECK_EQ(found.chunks_verified + found.chunks_summed, CHUNKS);
    CHECK_EQ(found.chunks_dropped + found.objects_dropped, 0);
    CHECK_EQ(found.bytes, SIZE);
    CHECK_EQ(told.calls, CHUNKS);
    CHECK_EQ(told.last.bytes, SIZE);

    /* Cancelled before it comes to the damage, which stays. */
    damage(".data", DAMAGED * T_CHUNK + 77);
    told = (struct told){.cancel_at = 2};
    CHECK_ERROR(cachefs_verify(cache, tell, &told, &found), -ECANCELED);
    CHECK_EQ(told.calls, 2);
    CHECK_EQ(t_residency(file).chunks_present, CHUNKS);

    CHECK_OK(cachefs_file_verify(file, NULL, NULL, &found));
    CHECK_EQ(found.chunks_dropped, 1);
    CHECK_EQ(found.chunks_verified, CHUNKS - 1);
    CHECK_EQ(t_residency(file).chunks_present, CHUNKS - 1);
    CHECK_EQ(t_statistics(cache).chunks_dropped, 1);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_SOON(t_residency(file).chunks_present == CHUNKS);
    CHECK_OK(cachefs_verify(cache, NULL, NULL, NULL));
    CHECK_EQ(t_statistics(cache).chunks_dropped, 1);

    damage(".meta", 20);
    CHECK_OK(cachefs_verify(cache, NULL, NULL, &found));
    CHECK_EQ(found.busy, 1);
    CHECK_EQ(found.objects_dropped, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    cache = t_cache_open();
    CHECK_OK(cachefs_verify(cache, NULL, NULL, &found));
    CHECK_EQ(found.objects_dropped, 1);
    CHECK_EQ(found.objects + found.busy, 0);
    origin = t_origin_open_dir(cache);
    file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE, 0);

    CHECK_ERROR(cachefs_verify(NULL, NULL, NULL, NULL), -EINVAL);
    found.struct_size = 4;
    CHECK_ERROR(cachefs_verify(cache, NULL, NULL, &found), -EINVAL);
    found.struct_size = 5000;
    CHECK_ERROR(cachefs_file_verify(file, NULL, NULL, &found), -E2BIG);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

/* What is leased at once has a limit, in pages: -EAGAIN, and nothing is held. */
#include "t.h"

enum { PAGE = 4096, LIMIT = 4 * PAGE, SIZE = T_CHUNK, SEED = 65 };

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.lease_bytes = LIMIT;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_lease *leases[4] = {NULL}, *more = NULL;

    for (int i = 0; i < 4; i++) {
        CHECK_OK(cachefs_lease_acquire(file, (uint64_t)i * PAGE, 1, &leases[i]));
        CHECK_EQ(t_statistics(cache).leased_bytes, (i + 1) * PAGE);
    }
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, &more), -EAGAIN);
    CHECK(more == NULL);
    CHECK_EQ(t_statistics(cache).leased_bytes, LIMIT);
    cachefs_lease_release(leases[0]);
    CHECK_OK(cachefs_lease_acquire(file, 0, PAGE, &leases[0]));
    for (int i = 0; i < 4; i++)
        cachefs_lease_release(leases[i]);

    CHECK_OK(cachefs_lease_acquire(file, PAGE, LIMIT, &more));
    cachefs_lease_release(more);
    more = NULL;
    CHECK_ERROR(cachefs_lease_acquire(file, PAGE, LIMIT + 1, &more), -E2BIG);
    CHECK_ERROR(cachefs_lease_acquire(file, PAGE - 1, LIMIT, &more), -E2BIG);
    CHECK(more == NULL);
    CHECK_EQ(t_statistics(cache).leased_bytes, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

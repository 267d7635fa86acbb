/* What is no lease, or was released, is refused; so are files that are none. */
#include "t.h"

enum { SIZE = 1000, SEED = 64 };

/* The call that has no result failed. */
#define CHECK_SAYS_ERROR(call)                                                              \
    do {                                                                                    \
        (call);                                                                             \
        CHECK(cachefs_last_error()[0] != '\0');                                             \
    } while (0)

static void check_refused(void *lease, int expected) {
    const void *data = NULL;
    uint64_t length = 7;
    CHECK_ERROR(cachefs_lease_data(lease, &data, &length), expected);
    CHECK(data == NULL && length == 7);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    void *cache_pointer = cache, *file_pointer = file;
    cachefs_lease *lease = NULL, *other = NULL;
    const void *data;
    uint64_t length;

    CHECK_ERROR(cachefs_lease_acquire(NULL, 0, 1, &lease), -EINVAL);
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, NULL), -EINVAL);
    CHECK_ERROR(cachefs_lease_acquire(cache_pointer, 0, 1, &lease), -EBADF);
    CHECK(lease == NULL);
    check_refused(NULL, -EINVAL);
    check_refused(file_pointer, -EBADF);
    check_refused(&data, -EBADF);
    CHECK_SAYS_ERROR(cachefs_lease_release(file_pointer));

    CHECK_OK(cachefs_lease_acquire(file, 0, SIZE, &lease));
    void *lease_pointer = lease;
    CHECK_ERROR(cachefs_lease_data(lease, NULL, &length), -EINVAL);
    CHECK_ERROR(cachefs_lease_data(lease, &data, NULL), -EINVAL);
    CHECK_ERROR(cachefs_file_fd(lease_pointer), -EBADF);
    CHECK_ERROR(cachefs_cache_close(lease_pointer), -EBADF);
    CHECK_OK(cachefs_lease_data(lease, &data, &length));
    CHECK_CONTENT(data, length, SEED, 0);

    cachefs_lease_release(lease);
    CHECK_EQ(cachefs_last_error()[0], '\0');
    check_refused(lease, -EBADF);
    CHECK_SAYS_ERROR(cachefs_lease_release(lease));
    /* A new one does not bring it back. */
    CHECK_OK(cachefs_lease_acquire(file, 0, SIZE, &other));
    check_refused(lease, -EBADF);
    CHECK_SAYS_ERROR(cachefs_lease_release(lease));
    CHECK_OK(cachefs_lease_data(other, &data, &length));
    cachefs_lease_release(other);
    cachefs_lease_release(NULL);
    CHECK_EQ(cachefs_last_error()[0], '\0');
    CHECK_EQ(t_statistics(cache).leased_bytes, 0);

    cachefs_file_close(file);
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, &lease), -EBADF);
    file = t_file_open(origin, "file");
    cachefs_cache_close(cache);
    CHECK_ERROR(cachefs_lease_acquire(file, 0, 1, &lease), -ESHUTDOWN);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    return 0;
}

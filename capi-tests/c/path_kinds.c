/* Only regular files are opened; everything else has its own errno. */
#include "t.h"

#include <sys/socket.h>
#include <sys/un.h>

static void check_refused(cachefs_origin *origin, const char *path, int expected) {
    cachefs_file *file = NULL;
    int result = cachefs_file_open(origin, path, 0, &file);
    if (result != expected)
        t_fail(__FILE__, __LINE__, "%.40s: got %d %s, expected %s", path, result,
               t_errno_name(result), t_errno_name(expected));
    CHECK(file == NULL);
    CHECK(cachefs_last_error()[0] != '\0');
}

int main(void) {
    static char long_name[300], long_path[8192];
    t_require_directory_origin();
    memset(long_name, 'x', sizeof long_name - 1);
    memset(long_path, '/', sizeof long_path - 1);
    for (size_t i = 0; i < sizeof long_path - 1; i += 2)
        long_path[i] = 'd';

    t_make_origin_file("file", 100, 1);
    CHECK_EQ(mkdir(t_path("origin/dir"), 0755), 0);
    CHECK_EQ(mkfifo(t_path("origin/fifo"), 0644), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK_EQ(chdir(t_path("origin")), 0);
    strcpy(address.sun_path, "socket");
    CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(symlink("gone", t_path("origin/dangling")), 0);

    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);

    check_refused(origin, "missing", -ENOENT);
    check_refused(origin, "missing/file", -ENOENT);
    check_refused(origin, "dangling", -ENOENT);
    check_refused(origin, "dir", -EISDIR);
    check_refused(origin, "dir/", -EISDIR);
    check_refused(origin, ".", -EISDIR);
    check_refused(origin, "/", -EISDIR);
    check_refused(origin, "", -EISDIR);
    check_refused(origin, "file/below", -ENOTDIR);
    /* Without waiting for somebody who writes to it. */
    check_refused(origin, "fifo", -EINVAL);
    check_refused(origin, "socket", -EINVAL);
    check_refused(origin, long_name, -ENAMETOOLONG);
    check_refused(origin, long_path, -ENAMETOOLONG);

    CHECK_EQ(close(listener), 0);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

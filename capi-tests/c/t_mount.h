/*
 * File systems for tests of caches that cannot be written: tmpfs, mounted in the
 * test's directory, in a mount namespace that ends with the test.
 */
#ifndef T_MOUNT_H
#define T_MOUNT_H

#include "t.h"

#include <sched.h>
#include <sys/mount.h>

T_HELPER void t_write_line(const char *path, const char *line) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, line, strlen(line)) < 0)
        t_skip("%s cannot be written: %s", path, strerror(errno));
    CHECK_EQ(close(fd), 0);
}

/* Enters a mount namespace; users other than root get one with a user namespace. */
T_HELPER void t_enter_namespace(void) {
    char map[64];
    unsigned user = geteuid(), group = getegid();
    if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
        t_skip("no mount namespace for this user: %s", strerror(errno));
    if (user == 0)
        return;
    t_write_line("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", user, user);
    t_write_line("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1", group, group);
    t_write_line("/proc/self/gid_map", map);
}

/* Makes `name` and mounts a tmpfs of `bytes` on it; skips where that is refused. */
T_HELPER void t_mount(const char *name, uint64_t bytes) {
    char options[64];
    CHECK_EQ(mkdir(t_path("%s", name), 0755), 0);
    t_enter_namespace();
    /* Names that say nothing here, since valgrind takes NULL for a mistake. */
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
        t_skip("mounts cannot be made private: %s", strerror(errno));
    snprintf(options, sizeof options, "size=%" PRIu64 ",mode=755", bytes);
    if (mount("tmpfs", t_path("%s", name), "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        t_skip("tmpfs cannot be mounted: %s", strerror(errno));
}

/* Makes it read-only. */
T_HELPER void t_mount_read_only(const char *name) {
    unsigned long flags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV;
    CHECK_EQ(mount("none", t_path("%s", name), "none", flags, NULL), 0);
}

/* Writes a file until nothing more fits. */
T_HELPER void t_fill_disk(const char *path) {
    static const char block[65536] = {1};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    for (size_t length = sizeof block; length > 0;) {
        if (write(fd, block, length) < 0) {
            CHECK_EQ(errno, ENOSPC);
            length /= 2;
        }
    }
    CHECK_EQ(close(fd), 0);
}

#endif /* T_MOUNT_H */

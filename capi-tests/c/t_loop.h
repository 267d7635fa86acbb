/* A file system on a loop device with sectors of a chosen size, for root. */
#ifndef T_LOOP_H
#define T_LOOP_H

#include "t_mount.h"

#include <sys/wait.h>

/* Runs a command; gives its first line of output. False: it failed. */
T_HELPER __attribute__((format(printf, 3, 4))) bool
t_command(char *line, size_t size, const char *format, ...) {
    char command[8192];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    CHECK(length > 0 && (size_t)length < sizeof command);
    FILE *pipe = popen(command, "re");
    CHECK(pipe != NULL);
    if (fgets(line, (int)size, pipe) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    for (int c = 0; c != EOF;)
        c = fgetc(pipe);
    return pclose(pipe) == 0;
}

/* Makes `name` and mounts an ext4 on it, on a loop device that goes with the mount. */
T_HELPER void t_mount_loop(const char *name, unsigned sector_size) {
    char device[64], nothing[64];
    if (geteuid() != 0)
        t_skip("loop devices are root's");
    int image = open(t_path("%s.image", name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(image >= 0);
    CHECK_EQ(ftruncate(image, 64 << 20), 0);
    CHECK_EQ(close(image), 0);
    CHECK_EQ(mkdir(t_path("%s", name), 0755), 0);
    if (!t_command(device, sizeof device, "losetup --find --show --sector-size %u '%s' 2>&1",
                   sector_size, t_path("%s.image", name)))
        t_skip("no loop device with sectors of %u bytes: %s", sector_size, device);
    bool made = t_command(nothing, sizeof nothing, "mkfs.ext4 -q '%s' 2>&1", device);
    t_enter_namespace();
    bool mounted = made && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount(device, t_path("%s", name), "ext4", MS_NOSUID | MS_NODEV, "") == 0;
    int error = errno;
    /* Detached once the file system is unmounted, which the namespace's end does. */
    CHECK(t_command(nothing, sizeof nothing, "losetup --detach '%s' 2>&1", device));
    if (!made)
        t_skip("no ext4 can be made here");
    if (!mounted)
        t_skip("ext4 cannot be mounted: %s", strerror(error));
}

#endif /* T_LOOP_H */

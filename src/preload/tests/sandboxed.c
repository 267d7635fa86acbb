/*
 * Opens a file in a sandbox, and says what it is: sandboxed KIND PATH. With a directory as third
 * argument, nothing of that is there any more ("mounts"). What KIND names besides "landlock" is a
 * system call that is refused from then on, by EPERM and by ENOSYS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static const struct {
    const char *name;
    int number;
} calls[] = {
    {"clock_gettime", SYS_clock_gettime},
    {"connect", SYS_connect},
    {"dup3", SYS_dup3},
    {"fcntl", SYS_fcntl},
    {"fgetxattr", SYS_fgetxattr},
    {"fsetxattr", SYS_fsetxattr},
    {"getpid", SYS_getpid},
    {"mmap", SYS_mmap},
    {"munmap", SYS_munmap},
    {"openat", SYS_openat},
    {"readlinkat", SYS_readlinkat},
    {"sendto", SYS_sendto},
    {"socket", SYS_socket},
    {"statx", SYS_statx},
    {"utimensat", SYS_utimensat},
};

static void refuse(const char *name, int errno_of_it) {
    for (size_t at = 0; at < sizeof calls / sizeof *calls; at++) {
        if (strcmp(calls[at].name, name)) continue;
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[at].number, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)errno_of_it),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) fail("seccomp");
        return;
    }
    fprintf(stderr, "%s is not listed\n", name);
    exit(2);
}

/* Nothing can be opened any more but what is below the directory of the file. */
static void restrict_to(const char *path) {
    struct landlock_ruleset_attr attributes = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
    if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
        puts("no landlock");
        exit(0);
    }
    if (rules < 0) fail("landlock_create_ruleset");
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", path);
    *strrchr(directory, '/') = 0;
    struct landlock_path_beneath_attr below = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
        .parent_fd = open(directory, O_PATH | O_DIRECTORY),
    };
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0))
        fail("landlock_add_rule");
    close(below.parent_fd);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
    if (syscall(SYS_landlock_restrict_self, rules, 0)) fail("landlock_restrict_self");
    close(rules);
}

static void enter(const char *kind, const char *path, const char *gone, int errno_of_it) {
    if (!strcmp(kind, "landlock")) {
        restrict_to(path);
    } else if (!strcmp(kind, "mounts")) {
        if (unshare(CLONE_NEWNS)) fail("unshare");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) fail("mount private");
        if (mount("none", gone, "tmpfs", 0, NULL)) fail("mount tmpfs");
    } else {
        refuse(kind, errno_of_it);
    }
}

static void tell(const char *path) {
    struct stat found, named;
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("open: %s\n", strerror(errno));
        return;
    }
    int failed = fstat(fd, &found) || stat(path, &named);
    printf("stat %d same %d size %lld mode %o ", failed,
           found.st_ino == named.st_ino && found.st_dev == named.st_dev, (long long)found.st_size,
           found.st_mode);
    unsigned long sum = 0;
    unsigned char bytes[4096];
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;)
        for (ssize_t at = 0; at < got; at++) sum = sum * 31 + bytes[at];
    printf("sum %lx\n", sum);
    close(fd);
}

int main(int count, char **words) {
    if (count < 3) return 2;
    const char *kind = words[1], *path = words[2], *gone = count > 3 ? words[3] : NULL;
    int errnos[] = {EPERM, ENOSYS};
    /* before anything was opened, and after */
    for (int at = 0; at < 4; at++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            if (at % 2) tell(path);
            enter(kind, path, gone, errnos[at / 2]);
            tell(path);
            exit(0);
        }
        int status;
        if (waitpid(child, &status, 0) < 0) fail("waitpid");
        if (status) printf("status %x\n", status);
    }
    return 0;
}

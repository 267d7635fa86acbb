/*
 * Opens a file as it is told, and says where the descriptor leads to, what the file is, and
 * which bytes it has. Each call is made by its own name, as programs import it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern int __open_2(const char *, int);
extern int __open64_2(const char *, int);
extern int __openat_2(int, const char *, int);
extern int __openat64_2(int, const char *, int);

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* A function that glibc has only for programs that were linked long ago, or of late. */
static void *old(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(77);
    }
    return found;
}

static int open_by(const char *how, const char *path) {
    if (!strcmp(how, "open")) return open(path, O_RDONLY);
    if (!strcmp(how, "open64")) return open64(path, O_RDONLY);
    if (!strcmp(how, "__open")) return ((int (*)(const char *, int, ...))old(how))(path, O_RDONLY);
    if (!strcmp(how, "__open64"))
        return ((int (*)(const char *, int, ...))old(how))(path, O_RDONLY);
    if (!strcmp(how, "__open_2")) return __open_2(path, O_RDONLY);
    if (!strcmp(how, "__open64_2")) return __open64_2(path, O_RDONLY);
    if (!strcmp(how, "openat")) return openat(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(how, "openat64")) return openat64(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(how, "__openat_2")) return __openat_2(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(how, "__openat64_2")) return __openat64_2(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(how, "openat2")) {
        struct open_how flags = {.flags = O_RDONLY};
        return ((int (*)(int, const char *, struct open_how *, size_t))old(how))(
            AT_FDCWD, path, &flags, sizeof flags);
    }
    if (!strcmp(how, "fopen") || !strcmp(how, "fopen64") || !strcmp(how, "freopen") ||
        !strcmp(how, "freopen64")) {
        FILE *(*again)(const char *, const char *, FILE *) =
            !strcmp(how, "freopen64") ? freopen64 : freopen;
        FILE *stream = !strcmp(how, "fopen")     ? fopen(path, "r")
                       : !strcmp(how, "fopen64") ? fopen64(path, "re")
                                                 : again(path, "r", stdin);
        return stream ? fileno(stream) : -1;
    }
    if (!strcmp(how, "direct")) return open(path, O_RDONLY | O_DIRECT);
    if (!strcmp(how, "rdwr")) return open(path, O_RDWR);
    if (!strcmp(how, "create")) return open(path, O_RDONLY | O_CREAT, 0644);
    if (!strcmp(how, "append")) return open(path, O_RDONLY | O_APPEND | O_NONBLOCK);
    if (!strcmp(how, "path")) return open(path, O_PATH);
    if (!strcmp(how, "cloexec")) return open(path, O_RDONLY | O_CLOEXEC);
    fprintf(stderr, "unknown: %s\n", how);
    exit(2);
}

static void where(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) fail("readlink");
    path[length] = 0;
    printf("where %s\n", strstr(path, "/cache/objects/") ? "cache" : "origin");
}

static void bytes(int fd) {
    /* as O_DIRECT asks for it */
    static char buffer[1 << 16] __attribute__((aligned(4096)));
    unsigned long long sum = 14695981039346656037ULL, count = 0;
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < got; at++)
            sum = (sum ^ (unsigned char)buffer[at]) * 1099511628211ULL;
        count += got;
    }
    if (got < 0) fail("read");
    printf("bytes %llu %016llx\n", count, sum);
}

static void show(const struct stat *found) {
    printf("stat %lu %lu %o %lu %u %u %ld %ld.%09ld %ld.%09ld\n", found->st_dev, found->st_ino,
           found->st_mode, found->st_nlink, found->st_uid, found->st_gid, found->st_size,
           found->st_mtim.tv_sec, found->st_mtim.tv_nsec, found->st_ctim.tv_sec,
           found->st_ctim.tv_nsec);
}

/* What every function says of a descriptor: once if they agree. */
static void stats(int fd) {
    struct stat all[8];
    memset(all, 0, sizeof all);
    int count = 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int failed = fstat(fd, &all[count++]);
    failed |= fstat64(fd, (struct stat64 *)&all[count++]);
    failed |= fstatat(fd, "", &all[count++], AT_EMPTY_PATH);
    failed |= fstatat64(fd, "", (struct stat64 *)&all[count++], AT_EMPTY_PATH);
    failed |= stat(link, &all[count++]);
    failed |= stat64(link, (struct stat64 *)&all[count++]);
    failed |= fstatat(AT_FDCWD, link, &all[count++], 0);
#ifdef __x86_64__
    failed |= ((int (*)(int, int, struct stat *))old("__fxstat"))(1, fd, &all[count++]);
#endif
    if (failed) fail("stat");
    show(&all[0]);
    for (int at = 1; at < count; at++) {
        /* atime may change between two of them */
        all[at].st_atim = all[0].st_atim;
        if (memcmp(&all[0], &all[at], sizeof all[0])) {
            printf("stat %d differs: ", at);
            show(&all[at]);
        }
    }
    struct statx more;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &more)) fail("statx");
    printf("statx %u:%u %llu %o %u %u %u %llu %lld.%09u %lld.%09u %llu\n", more.stx_dev_major,
           more.stx_dev_minor, more.stx_ino, more.stx_mode, more.stx_nlink, more.stx_uid,
           more.stx_gid, more.stx_size, more.stx_mtime.tv_sec, more.stx_mtime.tv_nsec,
           more.stx_ctime.tv_sec, more.stx_ctime.tv_nsec, more.stx_mnt_id);
}

static void tell(int fd) {
    where(fd);
    stats(fd);
    printf("flags %x %x\n", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    bytes(fd);
}

/* Whether another process is kept from a lock that this one has. */
static const char *locked(const char *path, int whole) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        /* by the kernel's own call, so not through the library */
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
        struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int got = whole ? syscall(SYS_flock, fd, LOCK_EX | LOCK_NB)
                        : syscall(SYS_fcntl, fd, F_SETLK, &range);
        _exit(got == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status) ? "kept out" : "let in";
}

static void *open_often(void *path) {
    for (int at = 0; at < 2000; at++) {
        int fd = open(path, O_RDONLY);
        if (fd < 0) fail("open");
        struct stat by_fd, by_path;
        if (fstat(fd, &by_fd) || stat(path, &by_path)) fail("stat");
        if (by_fd.st_ino != by_path.st_ino || by_fd.st_dev != by_path.st_dev) exit(3);
        char byte;
        if (read(fd, &byte, 1) != 1) fail("read");
        close(fd);
    }
    return NULL;
}

/* The attributes of a file, asked by the kernel's own calls, so not through the library. */
static long flags_by_name(const char *path) {
    long flags = 0;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
    if (syscall(SYS_ioctl, fd, FS_IOC_GETFLAGS, &flags)) fail("flags by name");
    close(fd);
    return flags & FS_NODUMP_FL;
}

/* Where the first bytes of a file are, and whether others have them as well. */
static void extents(int fd) {
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } asked = {.map = {.fm_length = 1 << 20, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 1}};
    struct fiemap_extent *first = asked.map.fm_extents;
    if (ioctl(fd, FS_IOC_FIEMAP, &asked)) return perror("fiemap");
    printf("at %llx, shared %d\n", (unsigned long long)first->fe_physical,
           (first->fe_flags & FIEMAP_EXTENT_SHARED) != 0);
}

/* Does with a descriptor what ioctl(2) is for. */
static int control(const char *what, int fd, const char *path) {
    long flags = 0;
    struct fsxattr more;
    lseek(fd, 3, SEEK_SET);
    if (!strcmp(what, "ioctl-ask")) {
        int version = 0;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags)) fail("getflags");
        if (ioctl(fd, FS_IOC_FSGETXATTR, &more)) fail("fsgetxattr");
        if (ioctl(fd, FS_IOC_GETVERSION, &version)) perror("getversion");
        printf("flags %lx %x, version %x\n", flags, more.fsx_xflags, version);
        extents(fd);
    } else if (!strcmp(what, "ioctl-flags")) {
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags)) fail("getflags");
        flags |= FS_NODUMP_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags)) fail("setflags");
        printf("flags %lx\n", flags_by_name(path));
    } else if (!strcmp(what, "ioctl-more")) {
        if (ioctl(fd, FS_IOC_FSGETXATTR, &more)) fail("fsgetxattr");
        more.fsx_xflags |= FS_XFLAG_NODUMP;
        if (ioctl(fd, FS_IOC_FSSETXATTR, &more)) fail("fssetxattr");
        printf("flags %lx\n", flags_by_name(path));
    } else if (!strncmp(what, "ioctl-clone", 11)) {
        char copy[4096];
        snprintf(copy, sizeof copy, "%s.copy", path);
        int to = syscall(SYS_openat, AT_FDCWD, copy, O_RDWR | O_CREAT | O_TRUNC, 0644);
        if (!strcmp(what, "ioctl-clone-lost") && unlink(path)) fail("unlink");
        struct file_clone_range range = {.src_fd = fd, .src_length = 0};
        int got = !strcmp(what, "ioctl-clone-range") ? ioctl(to, FICLONERANGE, &range)
                                                     : ioctl(to, FICLONE, fd);
        printf("clone %s, from %d\n", got ? strerror(errno) : "done", range.src_fd == fd);
        if (!got) extents(to);
        bytes(to);
        unlink(copy);
    } else if (!strcmp(what, "ioctl-others")) {
        int pair[2], waiting = 0;
        if (pipe(pair) || write(pair[1], "four", 4) != 4) fail("pipe");
        if (ioctl(pair[0], FIONREAD, &waiting)) fail("fionread");
        if (ioctl(fd, FIOCLEX)) fail("fioclex");
        printf("waiting %d, %x\n", waiting, fcntl(fd, F_GETFD));
        errno = 0;
        ioctl(-1, FS_IOC_GETFLAGS, &flags);
        printf("none: %s\n", strerror(errno));
        ioctl(pair[0], FS_IOC_SETFLAGS, &flags);
        printf("no file: %s\n", strerror(errno));
        ioctl(fd, TCGETS, &flags);
        printf("no terminal: %s\n", strerror(errno));
    } else {
        return 2;
    }
    printf("offset %ld\n", (long)lseek(fd, 0, SEEK_CUR));
    tell(fd);
    return 0;
}

/* Changes a file that is open, by the name that its descriptor has. */
static int again(const char *what, const char *path) {
    char name[64], other[4096];
    int table = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
    int fd = open(path, O_RDONLY), to = -1;
    where(fd);
    snprintf(name, sizeof name, strstr(what, "dev") ? "/dev/fd/%d" : "/proc/self/fd/%d", fd);
    snprintf(other, sizeof other, "%s.link", path);
    if (!strcmp(what, "again-link")) {
        if (linkat(AT_FDCWD, name, AT_FDCWD, other, AT_SYMLINK_FOLLOW)) fail("linkat");
    } else if (!strcmp(what, "again-link-empty")) {
        if (linkat(fd, "", AT_FDCWD, other, AT_EMPTY_PATH)) fail("linkat");
    } else if (!strcmp(what, "again-truncate")) {
        if (truncate(name, 5)) fail("truncate");
    } else if (!strncmp(what, "again-meta", 10)) {
        struct timespec times[2] = {{1, 2}, {3, 4}};
        struct timeval others[2] = {{1, 2}, {3, 4}};
        int got = !strcmp(what, "again-meta-chmod")       ? chmod(name, 0640)
                  : !strcmp(what, "again-meta-chown")     ? chown(name, -1, 1)
                  : !strcmp(what, "again-meta-fchmodat")  ? fchmodat(AT_FDCWD, name, 0640, 0)
                  : !strcmp(what, "again-meta-fchownat")  ? fchownat(AT_FDCWD, name, -1, 1, 0)
                  : !strcmp(what, "again-meta-fchown")    ? fchownat(fd, "", -1, 1, AT_EMPTY_PATH)
                  : !strcmp(what, "again-meta-utimensat") ? utimensat(AT_FDCWD, name, times, 0)
                  : !strcmp(what, "again-meta-utimes")    ? utimes(name, others)
                  : !strcmp(what, "again-meta-setxattr")  ? setxattr(name, "user.one", "1", 1, 0)
                                                          : removexattr(name, "user.test");
        if (got) fail(what);
        struct stat found;
        if (syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0)) fail("stat");
        printf("%o %d %d, %zd %zd\n", found.st_mode, (int)found.st_gid, found.st_mtim.tv_sec == 3,
               getxattr(path, "user.one", NULL, 0), getxattr(path, "user.test", NULL, 0));
    } else if (!strcmp(what, "again-fopen")) {
        FILE *stream = fopen(name, "r+");
        if (!stream || fputs("changed!", stream) < 0 || fclose(stream)) fail("fopen");
    } else {
        if (!strcmp(what, "again-lost") && unlink(path)) fail("unlink");
        to = !strcmp(what, "again-append")  ? open(name, O_WRONLY | O_APPEND)
             : !strcmp(what, "again-trunc") ? open64(name, O_WRONLY | O_TRUNC)
             : !strcmp(what, "again-creat") ? creat(name, 0600)
             : !strcmp(what, "again-at")    ? openat(fd, name, O_RDWR | O_CLOEXEC)
             : !strcmp(what, "again-relative") ? openat(table, strrchr(name, '/') + 1, O_RDWR)
             : !strcmp(what, "again-nowhere")  ? openat(-1, name, O_RDWR)
             : !strcmp(what, "again-there") ? (fchdir(table), open(strrchr(name, '/') + 1, O_RDWR))
                                            : open(name, O_RDWR);
        if (to < 0) fail("open again");
        if (write(to, "changed!", 8) != 8) fail("write");
        printf("number %d, flags %x %x\n", to - fd, fcntl(to, F_GETFL), fcntl(to, F_GETFD));
        where(to);
    }
    /* What is only read may come from anywhere. */
    to = open(name, O_RDONLY);
    printf("reads %d\n", to >= 0);
    return 0;
}

/* Takes a lock, and does with other descriptors of the file what closes none of them. */
static void keep_a_lock(const char *path, int fd) {
    char bytes[1000];
    int asked = open(path, O_RDONLY), given = open(path, O_RDONLY);
    struct flock range = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (asked < 0 || given < 0) fail(path);
    if (fcntl(fd, F_SETLK, &range)) fail("lock");
    printf("locked: others are %s\n", locked(path, 0));
    int later = open(path, O_RDONLY);
    printf("opened %d: others are %s\n", later >= 0, locked(path, 0));
    FILE *stream = fopen(path, "r");
    printf("as a stream %d: others are %s\n", !!stream, locked(path, 0));
    for (int times = 0; times < 3; times++) flistxattr(asked, bytes, sizeof bytes);
    printf("asked: others are %s\n", locked(path, 0));
    range.l_start = 5000;
    range.l_len = 1;
    if (fcntl(given, F_SETLK, &range)) fail("lock once more");
    printf("locked once more: others are %s\n", locked(path, 0));
    if (pread(later, bytes, sizeof bytes, 0) != sizeof bytes) fail("read");
    close(later);
    printf("closed: others are %s\n", locked(path, 0));
}

/* Has files have the same blocks where they have the same bytes. */
static void share(int fd, int to) {
    union {
        struct file_dedupe_range range;
        char room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)];
    } asked = {.range = {.src_length = 1 << 20, .dest_count = 1}};
    asked.range.info[0].dest_fd = to;
    if (ioctl(fd, FIDEDUPERANGE, &asked)) fail("dedupe");
    printf("status %d, bytes %llu\n", asked.range.info[0].status,
           (unsigned long long)asked.range.info[0].bytes_deduped);
    where(fd);
    extents(to);
    tell(to);
}

int main(int count, char **words) {
    if (count < 3) return 2;
    const char *what = words[1], *path = words[2];
    if (!strcmp(what, "exec-child")) {
        tell(atoi(path));
    } else if (!strcmp(what, "exec")) {
        int fd = open(path, O_RDONLY);
        char number[16];
        snprintf(number, sizeof number, "%d", dup(fd));
        close(fd);
        execl(words[0], words[0], "exec-child", number, NULL);
        fail("exec");
    } else if (!strcmp(what, "send")) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) fail("socketpair");
        char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                                 .msg_controllen = sizeof control};
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int fd = open(path, O_RDONLY);
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &fd, sizeof fd);
            _exit(sendmsg(pair[0], &message, 0) == 1 ? 0 : 1);
        }
        if (recvmsg(pair[1], &message, 0) != 1) fail("recvmsg");
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        waitpid(child, NULL, 0);
        tell(fd);
    } else if (!strcmp(what, "locks")) {
        keep_a_lock(path, open(path, O_RDONLY));
    } else if (!strcmp(what, "flock") || !strcmp(what, "fcntl") || !strcmp(what, "lockf")) {
        int fd = open(path, O_RDONLY);
        where(fd);
        lseek(fd, 3, SEEK_SET);
        struct flock range = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
        int got = !strcmp(what, "flock")   ? flock(fd, LOCK_EX)
                  : !strcmp(what, "fcntl") ? fcntl(fd, F_SETLK, &range)
                                           : (errno = 0, lockf(fd, F_TEST, 0));
        printf("lock %d, others are %s, offset %ld\n", got, locked(path, !strcmp(what, "flock")),
               (long)lseek(fd, 0, SEEK_CUR));
        where(fd);
        bytes(fd);
    } else if (!strcmp(what, "fchmod")) {
        int fd = open(path, O_RDONLY);
        if (fchmod(fd, 0604)) fail("fchmod");
        tell(fd);
    } else if (!strcmp(what, "futimens")) {
        int fd = open(path, O_RDONLY);
        struct timespec times[2] = {{1, 2}, {3, 4}};
        if (futimens(fd, times)) fail("futimens");
        struct stat found;
        if (stat(path, &found)) fail("stat");
        printf("mtime %ld.%09ld\n", found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
        where(fd);
    } else if (!strcmp(what, "xattr")) {
        int fd = open(path, O_RDONLY);
        char list[256], value[256];
        ssize_t length = flistxattr(fd, list, sizeof list);
        printf("list %zd %.*s\n", length, (int)(length > 0 ? length : 0), list);
        length = fgetxattr(fd, "user.test", value, sizeof value);
        printf("value %zd %.*s\n", length, (int)(length > 0 ? length : 0), value);
        length = fgetxattr(fd, "user.cachefs", value, sizeof value);
        printf("own %zd\n", length);
        tell(fd);
    } else if (!strncmp(what, "again", 5)) {
        return again(what, path);
    } else if (!strncmp(what, "ioctl-", 6)) {
        if (!strcmp(what, "ioctl-share")) {
            share(open(path, O_RDONLY), open(words[3], O_RDONLY));
        } else {
            int got = control(what, open(path, O_RDONLY), path);
            if (got) return got;
        }
    } else if (!strcmp(what, "mmap")) {
        int fd = open(path, O_RDONLY);
        struct stat found;
        if (fstat(fd, &found)) fail("fstat");
        char *map = mmap(NULL, found.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) fail("mmap");
        where(fd);
        close(fd);
        unsigned long sum = 0;
        for (long at = 0; at < found.st_size; at++) sum = sum * 31 + (unsigned char)map[at];
        printf("sum %lx\n", sum);
    } else if (!strcmp(what, "lowest")) {
        close(0);
        printf("number %d\n", open(path, O_RDONLY));
        where(0);
    } else if (!strcmp(what, "nofile")) {
        int fd = open("/", O_RDONLY);
        close(fd);
        /* room for the origin's file and for no other */
        struct rlimit limit = {fd + 1, fd + 1};
        if (setrlimit(RLIMIT_NOFILE, &limit)) fail("setrlimit");
        fd = open(path, O_RDONLY);
        if (fd < 0) fail("open");
        bytes(fd);
        close(fd);
        printf("again %d\n", open(path, O_RDONLY) >= 0);
    } else if (!strcmp(what, "chroot")) {
        if (chroot(path)) fail("chroot");
        if (chdir("/")) fail("chdir");
        int fd = open(words[3], O_RDONLY);
        if (fd < 0) fail("open");
        bytes(fd);
    } else if (!strcmp(what, "threads")) {
        pthread_t threads[8];
        for (int at = 0; at < 8; at++) pthread_create(&threads[at], NULL, open_often, (void *)path);
        for (int at = 0; at < 8; at++) pthread_join(threads[at], NULL);
        where(open(path, O_RDONLY));
    } else if (!strcmp(what, "forks")) {
        for (int at = 0; at < 200; at++) {
            pid_t child = at % 2 ? fork() : vfork();
            if (child == 0) {
                int fd = open(path, O_RDONLY);
                char byte;
                _exit(fd >= 0 && read(fd, &byte, 1) == 1 ? 0 : 1);
            }
            int status;
            waitpid(child, &status, 0);
            if (status) return 4;
        }
        where(open(path, O_RDONLY));
    } else if (!strcmp(what, "closefrom")) {
        int fd = open(path, O_RDONLY);
        close(fd);
        closefrom(3);
        fd = open(path, O_RDONLY);
        printf("number %d\n", fd);
        tell(fd);
    } else if (!strcmp(what, "errno")) {
        errno = 1234;
        int fd = open(path, O_RDONLY);
        struct stat found;
        fstat(fd, &found);
        printf("errno %d\n", errno);
        fd = open("/nothing/there", O_RDONLY);
        printf("errno %d\n", errno);
    } else if (!strcmp(what, "stack")) {
        /* a thread with as little of it as there may be */
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 64 << 10);
        pthread_t thread;
        if (pthread_create(&thread, &attributes, open_often, (void *)path)) fail("thread");
        pthread_join(thread, NULL);
        where(open(path, O_RDONLY));
    } else if (!strcmp(what, "empty-environment")) {
        extern char **environ;
        for (char **entry = environ; *entry; entry++) memset(*entry, 'x', strlen(*entry));
        environ[0] = NULL;
        where(open(path, O_RDONLY));
    } else {
        int fd = open_by(what, path);
        if (fd < 0) fail(what);
        if (!strcmp(what, "path")) where(fd); else tell(fd);
    }
    fflush(stdout);
    return 0;
}

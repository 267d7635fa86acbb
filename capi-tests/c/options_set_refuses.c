/* A bad option is refused with its own errno, and changes nothing. */
#include "t.h"

static void check_refused(const char *key, const char *value, int expected) {
    cachefs_cache_options options, before;
    CHECK_OK(cachefs_cache_options_init(&options, sizeof options));
    options.threads = 3;
    before = options;
    int result = cachefs_cache_options_set(&options, key, value);
    if (result != expected)
        t_fail(__FILE__, __LINE__, "%s=%s\n  got %s, expected %s", key, value,
               t_errno_name(result), t_errno_name(expected));
    CHECK(cachefs_last_error()[0] != '\0');
    CHECK_EQ(memcmp(&options, &before, sizeof options), 0);
}

/* One more than the upper end of a range `LOW..HIGH`, in decimal. */
static void check_range_ends(const cachefs_option_info *info) {
    char above[512];
    const char *high = strstr(info->range, "..") + 2;
    /* The same number with a digit more; units stay behind it. */
    size_t digits = strspn(high, "0123456789");
    CHECK(digits > 0);
    snprintf(above, sizeof above, "%.*s9%s", (int)digits, high, high + digits);
    check_refused(info->key, above, -ERANGE);
}

int main(void) {
    cachefs_cache_options options;
    CHECK_OK(cachefs_cache_options_init(&options, sizeof options));

    check_refused("no_such_key", "1", -ENOENT);
    check_refused("", "1", -ENOENT);
    check_refused("Engine", "uring", -ENOENT);
    check_refused("engine", "magic", -EINVAL);
    check_refused("engine", "", -EINVAL);
    check_refused("engine", "URING", -EINVAL);
    check_refused("log_level", "loud", -EINVAL);
    for (uint32_t i = 0;; i++) {
        cachefs_option_info info = {.struct_size = sizeof info};
        if (cachefs_option_describe(i, &info) != 0)
            break;
        if (info.type == CACHEFS_OPTION_CHOICE || info.type == CACHEFS_OPTION_SET)
            continue;
        check_refused(info.key, "", -EINVAL);
        check_refused(info.key, "many", -EINVAL);
        check_refused(info.key, "-1", -EINVAL);
        check_refused(info.key, "+1", -EINVAL);
        check_refused(info.key, " 1", -EINVAL);
        check_refused(info.key, "1 ", -EINVAL);
        check_refused(info.key, "0x10", -EINVAL);
        check_refused(info.key, "1.5", -EINVAL);
        check_refused(info.key, "1Z", -EINVAL);
        check_refused(info.key, "99999999999999999999999999", -ERANGE);
        check_range_ends(&info);
    }
    /* Units are those of sizes alone. */
    check_refused("threads", "1K", -EINVAL);
    check_refused("capacity_bytes", "20000000T", -ERANGE);
    /* In range, but no power of two. */
    check_refused("chunk_bytes", "1000000", -EINVAL);

    CHECK_ERROR(cachefs_cache_options_set(NULL, "threads", "1"), -EINVAL);
    CHECK_ERROR(cachefs_cache_options_set(&options, NULL, "1"), -EINVAL);
    CHECK_ERROR(cachefs_cache_options_set(&options, "threads", NULL), -EINVAL);
    return 0;
}

/* The text of the last error is each thread's own, and success clears it. */
#include "t.h"

static void *in_thread(void *user) {
    cachefs_cache_options *options = user;
    CHECK(cachefs_last_error()[0] == '\0');
    CHECK_ERROR(cachefs_cache_options_set(options, "threads", "many"), -EINVAL);
    char *text = strdup(cachefs_last_error());
    CHECK(text != NULL);
    return text;
}

int main(void) {
    cachefs_cache_options options;
    CHECK(cachefs_last_error() != NULL && cachefs_last_error()[0] == '\0');
    CHECK_OK(cachefs_cache_options_init(&options, sizeof options));

    CHECK_ERROR(cachefs_cache_options_set(&options, "no_such_key", "1"), -ENOENT);
    CHECK(strstr(cachefs_last_error(), "no_such_key") != NULL);
    char before[512];
    snprintf(before, sizeof before, "%s", cachefs_last_error());
    CHECK(strchr(before, '\n') == NULL);

    pthread_t thread;
    void *theirs;
    CHECK_EQ(pthread_create(&thread, NULL, in_thread, &options), 0);
    CHECK_EQ(pthread_join(thread, &theirs), 0);
    CHECK(strcmp(theirs, before) != 0);
    CHECK(strcmp(cachefs_last_error(), before) == 0);
    free(theirs);

    /* Asking for it is no call that succeeds. */
    CHECK(strcmp(cachefs_last_error(), before) == 0);
    CHECK_OK(cachefs_cache_options_set(&options, "threads", "1"));
    CHECK(cachefs_last_error()[0] == '\0');
    return 0;
}

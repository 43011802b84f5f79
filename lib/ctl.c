/* SPDX-License-Identifier: MIT
 *
 * ctl.c - hakmem_ctl() and hakmem_version(): argument checks and routing.
 *
 * Every operation works on a copy of the caller's struct at the library's own size, by the
 * rule of openat2(2); the copy goes back only when the operation succeeded.
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "config.h"
#include "dump.h"
#include "front.h"
#include "init.h"
#include "query.h"
#include "stats.h"

static int flush(void *arg)
{
	struct hakmem_flush *flush = arg;
	struct hk_flushed flushed, again;

	if (flush->scope > HAKMEM_SELF || flush->reserved)
		return EINVAL;
	hk_magazine_flush(flush->scope == HAKMEM_ALL, &flushed, "hakmem_ctl");
	if (flush->scope == HAKMEM_ALL && hk_front_flush(&flushed, "hakmem_ctl"))
		hk_magazine_flush(true, &again, "hakmem_ctl");
	hk_stats_flushed();
	flush->blocks = flushed.blocks;
	flush->bytes = flushed.bytes;
	flush->unreached = flushed.unreached;
	return 0;
}

static int release(void *arg)
{
	struct hakmem_release *release = arg;
	struct hk_snapshot snapshot;

	if (release->flags || release->reserved)
		return EINVAL;
	hk_heap_release(release, "hakmem_ctl");
	hk_stats_take(&snapshot);
	release->pinned_superslabs = snapshot.total.superslabs_live;
	release->pinned_blocks = snapshot.pinned_blocks;
	release->pinned_bytes = snapshot.pinned_bytes;
	return 0;
}

static int stats(void *arg)
{
	struct hk_snapshot snapshot;

	hk_stats_take(&snapshot);
	memcpy(arg, &snapshot.total, sizeof(snapshot.total));
	return 0;
}

static int dump(void *arg)
{
	const struct hakmem_dump *dump = arg;

	if (dump->format > HAKMEM_OPENMETRICS)
		return EINVAL;
	return hk_dump(dump->fd, dump->format);
}

static int get_option(void *arg)
{
	struct hakmem_option *option = arg;

	if (!option->name)
		return EFAULT;
	return hk_config_get(option->name, option->value, sizeof(option->value));
}

static int set_option(void *arg)
{
	const struct hakmem_option *option = arg;
	int error;

	if (!option->name)
		return EFAULT;
	if (!memchr(option->value, '\0', sizeof(option->value)))
		return EINVAL;
	error = hk_config_set(option->name, option->value);
	if (!error && !strcmp(option->name, "magazine_bytes"))
		hk_magazine_resize();
	return error;
}

static int query(void *arg)
{
	hk_query(arg);
	hk_front_query(arg);
	return 0;
}

static int check(void *arg)
{
	(void)arg;
	hk_check();
	hk_front_check("hakmem_ctl");
	return 0;
}

static int leaks(void *arg)
{
	return hk_front_leaks(arg);
}

/* size is 0 where there is no struct; optional: NULL, 0 stands for one that is all zero. */
static const struct operation {
	int (*run)(void *arg);
	size_t size;
	bool optional;
} operations[] = {
	[HAKMEM_FLUSH] = { flush, sizeof(struct hakmem_flush), true },
	[HAKMEM_RELEASE] = { release, sizeof(struct hakmem_release), true },
	[HAKMEM_STATS] = { stats, sizeof(struct hakmem_stats), false },
	[HAKMEM_DUMP] = { dump, sizeof(struct hakmem_dump), false },
	[HAKMEM_GET] = { get_option, sizeof(struct hakmem_option), false },
	[HAKMEM_SET] = { set_option, sizeof(struct hakmem_option), false },
	[HAKMEM_QUERY] = { query, sizeof(struct hakmem_query), false },
	[HAKMEM_CHECK] = { check, 0, true },
	[HAKMEM_LEAKS] = { leaks, sizeof(struct hakmem_leaks), false },
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

union any {
	struct hakmem_flush flush;
	struct hakmem_release release;
	struct hakmem_stats stats;
	struct hakmem_dump dump;
	struct hakmem_option option;
	struct hakmem_query query;
	struct hakmem_leaks leaks;
};

/* Bytes that we do not know must be zero: the caller asks for nothing we cannot give. */
static bool is_zero(const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

static int check_argument(const struct operation *operation, const void *arg, size_t size)
{
	if (!arg)
		return operation->optional && !size ? 0 : EFAULT;
	if (!size || !operation->size)
		return EINVAL;
	if (size > operation->size &&
	    !is_zero((const char *)arg + operation->size, size - operation->size))
		return E2BIG;
	return 0;
}

static int run(enum hakmem_op op, void *arg, size_t size)
{
	const struct operation *operation;
	union any copy;
	int error;

	if (op == HAKMEM_LEAKS && !HK_DEBUG)
		return ENOTSUP;
	if ((size_t)op >= OPERATIONS || !operations[op].run)
		return EINVAL;
	operation = &operations[op];
	error = check_argument(operation, arg, size);
	if (error)
		return error;
	hk_init();
	if (size > operation->size)
		size = operation->size;
	memset(&copy, 0, sizeof(copy));
	if (arg)
		memcpy(&copy, arg, size);
	error = operation->run(&copy);
	if (error)
		return error;
	/* A value that does not fit would come back without its end. */
	if (op == HAKMEM_GET && size < operation->size &&
	    offsetof(struct hakmem_option, value) + strlen(copy.option.value) >= size)
		return EINVAL;
	if (arg)
		memcpy(arg, &copy, size);
	return 0;
}

int hakmem_ctl(enum hakmem_op op, void *arg, size_t size)
{
	int kept = errno, error = run(op, arg, size);

	errno = error ? error : kept;
	return error ? -1 : 0;
}

const char *hakmem_version(void)
{
	return HK_VERSION;
}

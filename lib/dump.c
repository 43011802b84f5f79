/* SPDX-License-Identifier: MIT
 *
 * dump.c - three ways to write one snapshot.  Counters come from counters.def, options from
 * options.def.  Owns nothing, takes no lock while it writes.
 */
#include "dump.h"

#include <string.h>

#include "config.h"
#include "fork.h"
#include "size_class.h"
#include "stats.h"
#include "text.h"
#include "timing.h"

enum counter_type { GAUGE, COUNTER };

struct counter {
	const char *name;
	enum counter_type type;
	const char *unit;
	const char *help;
	size_t offset;
};

static const struct counter counters[] = {
#define HK_COUNTER(field, type, unit, help) \
	{ #field, type, unit, help, offsetof(struct hakmem_stats, field) },
#include "counters.def"
#undef HK_COUNTER
};

#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

_Static_assert(COUNTERS * sizeof(uint64_t) == sizeof(struct hakmem_stats),
	       "counters.def has every field of hakmem_stats");

static unsigned long value_of(const struct hk_snapshot *snapshot,
			      const struct counter *counter)
{
	return *(const uint64_t *)((const char *)&snapshot->total + counter->offset);
}

static bool is_in_use(const struct hk_class_stats *stats)
{
	return stats->slabs || stats->refills || stats->spills;
}

static void option_text(unsigned i, char *name, char *value, size_t size)
{
	hk_config_name((enum hk_option)i, name);
	if (hk_config_get(name, value, size) != 0)
		value[0] = '\0';
}

/* What HAKMEM_TIMING measures. */
struct measured {
	bool on;
	struct hk_timing timing[HK_TIMED];
	struct hk_locks_report locks;
};

static void measure(struct measured *measured)
{
	measured->on = hk_timing_is_on();
	if (!measured->on)
		return;
	hk_timing_read(measured->timing);
	hk_locks_report(&measured->locks);
}

/* ---- text ---- */

static void text_classes(struct hk_text *text, const struct hk_snapshot *snapshot)
{
	hk_text(text, "%8s %8s %12s %12s %10s %10s\n", "class", "slabs", "live", "cached",
		"refills", "spills");
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_class_stats *stats = &snapshot->classes[i];

		if (is_in_use(stats))
			hk_text(text, "%8lu %8lu %12lu %12lu %10lu %10lu\n",
				hk_class_size(i), stats->slabs, stats->blocks_live,
				stats->blocks_cached, stats->refills, stats->spills);
	}
	hk_text(text, "%8s %8s %12lu\n", "medium", "", snapshot->medium_live);
	hk_text(text, "%8s %8s %12lu\n", "large", "",
		(unsigned long)snapshot->total.large_live);
}

/* The class that has most of the SuperSlab's slots: by its blocks' size, as elsewhere. */
static void pinned_by(struct hk_text *text, const struct hk_pinned *pinned)
{
	if (pinned->kind == HK_KIND_MEDIUM)
		hk_text(text, "medium");
	else
		hk_text(text, "%lu", hk_class_size(pinned->kind));
}

static const char *tier_name(const struct hk_pinned *pinned)
{
	return pinned->draining ? "draining" : "hot";
}

static unsigned long fullness(const struct hk_pinned *pinned)
{
	return pinned->live_bytes * 100 / HK_SUPERSLAB_BYTES;
}

static void text_pinned(struct hk_text *text, const struct hk_snapshot *snapshot)
{
	if (!snapshot->pinned_count)
		return;
	hk_text(text, "%-18s %-8s %12s %12s %6s %s\n", "pinned SuperSlab", "tier", "live",
		"held bytes", "full %", "mostly by");
	for (unsigned i = 0; i < snapshot->pinned_count; i++) {
		const struct hk_pinned *pinned = &snapshot->pinned[i];

		hk_text(text, "%-18p %-8s %12lu %12lu %6lu ", (const void *)pinned->base,
			tier_name(pinned), pinned->live_blocks, pinned->held_bytes,
			fullness(pinned));
		pinned_by(text, pinned);
		hk_text(text, "\n");
	}
}

static void text_lock(struct hk_text *text, const struct hk_lock_report *lock)
{
	hk_text(text, " %14lu %14lu %16lu\n", lock->acquired, lock->contended,
		lock->waited_ns);
}

static void text_measured(struct hk_text *text, const struct measured *measured)
{
	const struct hk_locks_report *locks = &measured->locks;

	if (!measured->on)
		return;
	hk_text(text, "%-20s %14s %14s %16s\n", "timing", "count", "longest ns",
		"total ns");
	for (unsigned i = 0; i < HK_TIMED; i++)
		hk_text(text, "%-20s %14lu %14lu %16lu\n", hk_timed_names[i],
			measured->timing[i].count, measured->timing[i].longest_ns,
			measured->timing[i].total_ns);
	hk_text(text, "%-20s %14s %14s %16s\n", "lock", "acquired", "contended",
		"waited ns");
	for (size_t i = 0; i < locks->names; i++) {
		hk_text(text, "%-20s", locks->named[i].name);
		text_lock(text, &locks->named[i]);
	}
	for (unsigned i = 0; i < HK_CONTENDED_CLASSES && locks->classes[i].size_class;
	     i++) {
		hk_text(text, "class %-14lu",
			hk_class_size(locks->classes[i].size_class));
		text_lock(text, &locks->classes[i]);
	}
}

static void dump_text(struct hk_text *text, const struct hk_snapshot *snapshot,
		      const struct measured *measured)
{
	hk_text(text, "hakmem %s statistics\n", hakmem_version());
	for (size_t i = 0; i < COUNTERS; i++)
		hk_text(text, "%-26s %16lu  %s\n", counters[i].name,
			value_of(snapshot, &counters[i]), counters[i].help);
	text_classes(text, snapshot);
	text_pinned(text, snapshot);
	text_measured(text, measured);
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char name[HK_OPTION_NAME_MAX], value[64];

		option_text(i, name, value, sizeof(value));
		hk_text(text, "option %-19s %16s\n", name, value);
	}
}

/* ---- JSON ---- */

static void json_lock(struct hk_text *text, const struct hk_lock_report *lock)
{
	hk_text(text, "\"acquired\":%lu,\"contended\":%lu,\"waited_ns\":%lu",
		lock->acquired, lock->contended, lock->waited_ns);
}

static void json_contended_classes(struct hk_text *text,
				   const struct hk_locks_report *locks)
{
	hk_text(text, ",\"most_contended\":[");
	for (unsigned i = 0; i < HK_CONTENDED_CLASSES && locks->classes[i].size_class;
	     i++) {
		hk_text(text, "%s{\"size\":%lu,", i ? "," : "",
			hk_class_size(locks->classes[i].size_class));
		json_lock(text, &locks->classes[i]);
		hk_text(text, "}");
	}
	hk_text(text, "]");
}

static void json_measured(struct hk_text *text, const struct measured *measured)
{
	const struct hk_locks_report *locks = &measured->locks;

	if (!measured->on)
		return;
	hk_text(text, ",\"timing\":{");
	for (unsigned i = 0; i < HK_TIMED; i++)
		hk_text(text,
			"%s\"%s\":{\"count\":%lu,\"total_ns\":%lu,\"longest_ns\":%lu}",
			i ? "," : "", hk_timed_names[i], measured->timing[i].count,
			measured->timing[i].total_ns, measured->timing[i].longest_ns);
	hk_text(text, "},\"locks\":{");
	for (size_t i = 0; i < locks->names; i++) {
		hk_text(text, "%s\"%s\":{", i ? "," : "", locks->named[i].name);
		json_lock(text, &locks->named[i]);
		if (!strcmp(locks->named[i].name, HK_LOCKS_OF_CLASSES))
			json_contended_classes(text, locks);
		hk_text(text, "}");
	}
	hk_text(text, "}");
}

static void json_pinned(struct hk_text *text, const struct hk_snapshot *snapshot)
{
	hk_text(text, ",\"pinned\":[");
	for (unsigned i = 0; i < snapshot->pinned_count; i++) {
		const struct hk_pinned *pinned = &snapshot->pinned[i];

		hk_text(text,
			"%s{\"superslab\":\"%p\",\"tier\":\"%s\",\"live\":%lu,"
			"\"held_bytes\":%lu,\"fullness\":%lu,\"mostly_by\":\"",
			i ? "," : "", (const void *)pinned->base, tier_name(pinned),
			pinned->live_blocks, pinned->held_bytes, fullness(pinned));
		pinned_by(text, pinned);
		hk_text(text, "\"}");
	}
	hk_text(text, "]");
}

static void dump_json(struct hk_text *text, const struct hk_snapshot *snapshot,
		      const struct measured *measured)
{
	const char *comma = "";

	hk_text(text, "{\"version\":\"%s\",\"stats\":{", hakmem_version());
	for (size_t i = 0; i < COUNTERS; i++)
		hk_text(text, "%s\"%s\":%lu", i ? "," : "", counters[i].name,
			value_of(snapshot, &counters[i]));
	hk_text(text, "},\"classes\":[");
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_class_stats *stats = &snapshot->classes[i];

		if (!is_in_use(stats))
			continue;
		hk_text(text,
			"%s{\"size\":%lu,\"slabs\":%lu,\"live\":%lu,\"cached\":%lu,"
			"\"refills\":%lu,\"spills\":%lu}",
			comma, hk_class_size(i), stats->slabs, stats->blocks_live,
			stats->blocks_cached, stats->refills, stats->spills);
		comma = ",";
	}
	hk_text(text, "],\"medium\":{\"live\":%lu,\"bytes\":%lu}", snapshot->medium_live,
		snapshot->medium_bytes);
	json_pinned(text, snapshot);
	json_measured(text, measured);
	hk_text(text, ",\"options\":{");
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char name[HK_OPTION_NAME_MAX], value[64];

		option_text(i, name, value, sizeof(value));
		hk_text(text, "%s\"%s\":", i ? "," : "", name);
		hk_text_json(text, value);
	}
	hk_text(text, "}}\n");
}

/* ---- OpenMetrics, version 1.0.0 of its specification ---- */

static void metrics_class(struct hk_text *text, const char *name, const char *help,
			  const struct hk_snapshot *snapshot, size_t offset)
{
	hk_text(text, "# TYPE hakmem_class_%s gauge\n# HELP hakmem_class_%s %s\n", name,
		name, help);
	for (unsigned i = 1; i <= HK_CLASSES; i++) {
		const struct hk_class_stats *stats = &snapshot->classes[i];

		if (is_in_use(stats))
			hk_text(text, "hakmem_class_%s{size=\"%lu\"} %lu\n", name,
				hk_class_size(i),
				*(const uint64_t *)((const char *)stats + offset));
	}
}

/* A counter's samples end in _total, its family's name must not. */
static void metrics_family(struct hk_text *text, const struct counter *counter)
{
	char family[64];
	size_t length = 0;

	while (counter->name[length] && length < sizeof(family) - 1) {
		family[length] = counter->name[length];
		length++;
	}
	if (counter->type == COUNTER)
		length -= sizeof("_total") - 1;
	family[length] = '\0';
	hk_text(text, "# TYPE hakmem_%s %s\n# HELP hakmem_%s %s\n", family,
		counter->type == COUNTER ? "counter" : "gauge", family, counter->help);
}

struct metric {
	const char *family, *help;
	enum counter_type type;
	size_t offset; /* in hk_timing, or in hk_lock_report */
};

static const struct metric timing_metrics[] = {
	{ "timed_calls", "how often the slow path was taken", COUNTER,
	  offsetof(struct hk_timing, count) },
	{ "timed_nanoseconds", "time spent there", COUNTER,
	  offsetof(struct hk_timing, total_ns) },
	{ "timed_longest_nanoseconds", "the longest time spent there at once", GAUGE,
	  offsetof(struct hk_timing, longest_ns) },
};

static const struct metric lock_metrics[] = {
	{ "acquisitions", "how often the lock was taken", COUNTER,
	  offsetof(struct hk_lock_report, acquired) },
	{ "waits", "acquisitions that had to wait", COUNTER,
	  offsetof(struct hk_lock_report, contended) },
	{ "waited_nanoseconds", "time spent waiting", COUNTER,
	  offsetof(struct hk_lock_report, waited_ns) },
};

#define METRICS(table) (sizeof(table) / sizeof((table)[0]))

static unsigned long number_at(const void *base, size_t offset)
{
	return *(const uint64_t *)((const char *)base + offset);
}

static void metrics_head(struct hk_text *text, const char *prefix,
			 const struct metric *metric)
{
	hk_text(text, "# TYPE hakmem_%s%s %s\n# HELP hakmem_%s%s %s\n", prefix,
		metric->family, metric->type == COUNTER ? "counter" : "gauge", prefix,
		metric->family, metric->help);
}

static void metrics_timing(struct hk_text *text, const struct measured *measured)
{
	for (size_t i = 0; i < METRICS(timing_metrics); i++) {
		const struct metric *metric = &timing_metrics[i];

		metrics_head(text, "", metric);
		for (unsigned j = 0; j < HK_TIMED; j++)
			hk_text(text, "hakmem_%s%s{path=\"%s\"} %lu\n", metric->family,
				metric->type == COUNTER ? "_total" : "",
				hk_timed_names[j],
				number_at(&measured->timing[j], metric->offset));
	}
}

/* A size class's lock is in a family of its own, or it would count twice in a sum. */
static void metrics_locks(struct hk_text *text, const struct hk_locks_report *locks)
{
	for (size_t i = 0; i < METRICS(lock_metrics); i++) {
		const struct metric *metric = &lock_metrics[i];

		metrics_head(text, "lock_", metric);
		for (size_t j = 0; j < locks->names; j++)
			hk_text(text, "hakmem_lock_%s_total{lock=\"%s\"} %lu\n",
				metric->family, locks->named[j].name,
				number_at(&locks->named[j], metric->offset));
		metrics_head(text, "class_lock_", metric);
		for (unsigned j = 0;
		     j < HK_CONTENDED_CLASSES && locks->classes[j].size_class; j++)
			hk_text(text, "hakmem_class_lock_%s_total{size=\"%lu\"} %lu\n",
				metric->family,
				hk_class_size(locks->classes[j].size_class),
				number_at(&locks->classes[j], metric->offset));
	}
}

static void dump_metrics(struct hk_text *text, const struct hk_snapshot *snapshot,
			 const struct measured *measured)
{
	for (size_t i = 0; i < COUNTERS; i++) {
		metrics_family(text, &counters[i]);
		hk_text(text, "hakmem_%s %lu\n", counters[i].name,
			value_of(snapshot, &counters[i]));
	}
	metrics_class(text, "slabs", "slabs of the size class", snapshot,
		      offsetof(struct hk_class_stats, slabs));
	metrics_class(text, "blocks_live", "blocks held by the program", snapshot,
		      offsetof(struct hk_class_stats, blocks_live));
	metrics_class(text, "blocks_cached", "blocks in magazines and depots", snapshot,
		      offsetof(struct hk_class_stats, blocks_cached));
	if (measured->on) {
		metrics_timing(text, measured);
		metrics_locks(text, &measured->locks);
	}
	hk_text(text, "# EOF\n");
}

int hk_dump(int fd, uint32_t format)
{
	struct hk_snapshot snapshot;
	struct measured measured;
	struct hk_text text;

	hk_stats_take(&snapshot);
	measure(&measured);
	hk_text_open(&text, fd);
	if (format == HAKMEM_TEXT)
		dump_text(&text, &snapshot, &measured);
	else if (format == HAKMEM_JSON)
		dump_json(&text, &snapshot, &measured);
	else
		dump_metrics(&text, &snapshot, &measured);
	return hk_text_close(&text);
}

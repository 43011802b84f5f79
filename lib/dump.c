/* SPDX-License-Identifier: MIT
 *
 * dump.c - three ways to write one snapshot.  Counters come from counters.def, options from
 * options.def.  Owns nothing, takes no lock while it writes.
 */
#include "dump.h"

#include "config.h"
#include "size_class.h"
#include "stats.h"
#include "text.h"

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

static void dump_text(struct hk_text *text, const struct hk_snapshot *snapshot)
{
	hk_text(text, "hakmem %s statistics\n", hakmem_version());
	for (size_t i = 0; i < COUNTERS; i++)
		hk_text(text, "%-26s %16lu  %s\n", counters[i].name,
			value_of(snapshot, &counters[i]), counters[i].help);
	text_classes(text, snapshot);
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char name[HK_OPTION_NAME_MAX], value[64];

		option_text(i, name, value, sizeof(value));
		hk_text(text, "option %-19s %16s\n", name, value);
	}
}

/* ---- JSON ---- */

static void json_string(struct hk_text *text, const char *string)
{
	hk_text(text, "\"");
	for (; *string; string++) {
		unsigned char c = (unsigned char)*string;

		if (c == '"' || c == '\\')
			hk_text(text, "\\%c", c);
		else if (c < 0x20)
			hk_text(text, "\\u00%x%x", c >> 4, c & 15u);
		else
			hk_text(text, "%c", c);
	}
	hk_text(text, "\"");
}

static void dump_json(struct hk_text *text, const struct hk_snapshot *snapshot)
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
	hk_text(text, "],\"medium\":{\"live\":%lu,\"bytes\":%lu},\"options\":{",
		snapshot->medium_live, snapshot->medium_bytes);
	for (unsigned i = 0; i < HK_OPTIONS; i++) {
		char name[HK_OPTION_NAME_MAX], value[64];

		option_text(i, name, value, sizeof(value));
		hk_text(text, "%s\"%s\":", i ? "," : "", name);
		json_string(text, value);
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

static void dump_metrics(struct hk_text *text, const struct hk_snapshot *snapshot)
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
	hk_text(text, "# EOF\n");
}

int hk_dump(int fd, uint32_t format)
{
	struct hk_snapshot snapshot;
	struct hk_text text;

	hk_stats_take(&snapshot);
	hk_text_open(&text, fd);
	if (format == HAKMEM_TEXT)
		dump_text(&text, &snapshot);
	else if (format == HAKMEM_JSON)
		dump_json(&text, &snapshot);
	else
		dump_metrics(&text, &snapshot);
	return hk_text_close(&text);
}

/* SPDX-License-Identifier: MIT
 *
 * text.c - a printf for those who may not allocate.
 */
#include "text.h"

#include <string.h>

#include "os.h"

void hk_text_open(struct hk_text *text, int fd)
{
	text->fd = fd;
	text->error = 0;
	text->used = 0;
}

static void flush(struct hk_text *text)
{
	if (text->used && !text->error)
		text->error = hk_os_write(text->fd, text->buffer, text->used);
	text->used = 0;
}

static void put(struct hk_text *text, char c)
{
	if (text->used == sizeof(text->buffer)) {
		if (text->fd < 0)
			return;
		flush(text);
	}
	text->buffer[text->used++] = c;
}

/* width < 0: flush left, as '-' says in printf. */
static void put_field(struct hk_text *text, const char *field, size_t length, int width)
{
	size_t pad = (size_t)(width < 0 ? -width : width);

	pad = pad > length ? pad - length : 0;
	for (size_t i = 0; width > 0 && i < pad; i++)
		put(text, ' ');
	for (size_t i = 0; i < length; i++)
		put(text, field[i]);
	for (size_t i = 0; width < 0 && i < pad; i++)
		put(text, ' ');
}

static void put_number(struct hk_text *text, uint64_t value, unsigned base,
		       const char *sign, int width)
{
	char digits[32], *first = digits + sizeof(digits);
	size_t signs = strlen(sign);

	do {
		*--first = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	first -= signs;
	memcpy(first, sign, signs);
	put_field(text, first, (size_t)(digits + sizeof(digits) - first), width);
}

static void put_signed(struct hk_text *text, int64_t value, int width)
{
	if (value < 0)
		put_number(text, -(uint64_t)value, 10, "-", width);
	else
		put_number(text, (uint64_t)value, 10, "", width);
}

void hk_text_list(struct hk_text *text, const char *format, va_list list)
{
	for (; *format; format++) {
		bool left = false, wide = false;
		int width = 0;
		char character;
		const char *string;

		if (*format != '%') {
			put(text, *format);
			continue;
		}
		format++;
		if (*format == '-') {
			left = true;
			format++;
		}
		if (*format == '*') {
			width = va_arg(list, int);
			format++;
		}
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (*format - '0');
		if (left)
			width = -width;
		if (*format == 'l') {
			wide = true;
			format++;
		}
		switch (*format) {
		case 'd':
			put_signed(text, wide ? va_arg(list, long) : va_arg(list, int),
				   width);
			break;
		case 'u':
			put_number(text,
				   wide ? va_arg(list, unsigned long)
					: va_arg(list, unsigned),
				   10, "", width);
			break;
		case 'x':
			put_number(text,
				   wide ? va_arg(list, unsigned long)
					: va_arg(list, unsigned),
				   16, "", width);
			break;
		case 'p':
			put_number(text, (uintptr_t)va_arg(list, void *), 16, "0x",
				   width);
			break;
		case 'c':
			character = (char)va_arg(list, int);
			put_field(text, &character, 1, width);
			break;
		case 's':
			string = va_arg(list, const char *);
			put_field(text, string, strlen(string), width);
			break;
		default:
			hk_assert(*format == '%');
			put(text, '%');
		}
	}
}

void hk_text(struct hk_text *text, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	hk_text_list(text, format, list);
	va_end(list);
}

void hk_text_json(struct hk_text *text, const char *string)
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

void hk_text_format(char *string, size_t size, const char *format, va_list list)
{
	struct hk_text text;

	hk_text_open(&text, -1);
	hk_text_list(&text, format, list);
	if (text.used >= size)
		text.used = size - 1;
	memcpy(string, text.buffer, text.used);
	string[text.used] = '\0';
}

int hk_text_close(struct hk_text *text)
{
	flush(text);
	return text->error;
}

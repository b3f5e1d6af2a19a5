#define JSON_SCAN_SCALAR
#define json_space scalar_json_space
#define json_value scalar_json_value
#define json_value_hash scalar_json_value_hash
#define json_check scalar_json_check
#define json_hash scalar_json_hash
#define json_same scalar_json_same
#define json_walk_begin scalar_json_walk_begin
#define json_walk_next scalar_json_walk_next
#include "store/json.c"

#include "json_reference.h"

size_t json_minify(const char *text, size_t size, char *to)
{
	bool string = false;
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (string && c == '\\') {
			to[n++] = c;
			if (++i < size)
				to[n++] = text[i];
			continue;
		}
		if (c == '"')
			string = !string;
		if (string || (c != ' ' && c != '\t' && c != '\n' && c != '\r'))
			to[n++] = c;
	}
	return n;
}

/* A message for people: who speaks, and the text, of the shapes that chat applications write. */
#ifndef TOOLS_MESSAGE_H
#define TOOLS_MESSAGE_H

#include <stddef.h>
#include <stdio.h>

struct message {
	char *role;	/* NULL: it names none */
	char *text;	/* never NULL; the JSON itself when no text was found in it */
};

/*
 * Understands {role|type|sender|author, content|text|message|parts}, LangChain's {type, data: {content}}, contents that are
 * lists of parts, and lists whose first element is the message. Out of memory: leaves the program.
 */
void message_read(const char *json, size_t size, struct message *ret);
void message_release(struct message *m);

/* Prints text indented, wrapped to `width` columns, free of what would steer a terminal. Lines that fit stay as they are. */
void message_wrap(FILE *f, const char *text, size_t indent, size_t width);

#endif

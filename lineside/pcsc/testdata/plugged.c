// A libpcsclite for tests of readers that come and go, which no virtual reader does. What is plugged in stands in the file that
// PLUGGED names, a line for each reader; a line that ends in "!" is a reader that another program holds, one that ends in "?" a virtual one without a
// chip, which has the ATR 3B00 and no event when that changes. A chip lies in every other one, with the ATR 3B0142; it answers each command with 9000. In the file PLUGGED.waiting is how often somebody has begun to wait for a change.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../library.h"

#define MOST 16
enum { NAME = 128 };

static const long unavailable = 0x80100017, unknown = 0x80100009, none = 0x8010002E, timeout = 0x8010000A, sharing = 0x8010000B;
static const unsigned long changed = 2, is_unknown = 4, present = 0x20;

static struct plugged {
	char name[MOST][NAME];
	int held[MOST], vacant[MOST];
	int count;
} look(void)
{
	struct plugged p = {.count = 0};
	FILE *f = fopen(getenv("PLUGGED"), "r");
	while (f && p.count < MOST && fgets(p.name[p.count], NAME, f)) {
		char *name = p.name[p.count];
		name[strcspn(name, "\n")] = 0;
		size_t n = strlen(name);
		if (n && name[n - 1] == '!') {
			name[n - 1] = 0;
			p.held[p.count] = 1;
		} else if (n && name[n - 1] == '?') {
			name[n - 1] = 0;
			p.vacant[p.count] = 1;
		}
		p.count++;
	}
	if (f)
		fclose(f);
	return p;
}

static int find(const struct plugged *p, const char *name)
{
	for (int i = 0; i < p->count; i++)
		if (!strcmp(p->name[i], name))
			return i;
	return -1;
}

static char taken[MOST][NAME]; // by handle
static long handles;

long SCardEstablishContext(unsigned long scope, const void *a, const void *b, long *context)
{
	*context = 1;
	return 0;
}

long SCardReleaseContext(long context) { return 0; }

long SCardListReaders(long context, const char *groups, char *names, unsigned long *length)
{
	struct plugged p = look();
	unsigned long n = 0;
	for (int i = 0; i < p.count; i++)
		n += (unsigned long)sprintf(names + n, "%s", p.name[i]) + 1;
	names[n++] = 0;
	*length = n;
	return p.count ? 0 : none;
}

static void began(void)
{
	static unsigned long times;
	char path[4096], next[4096];
	snprintf(path, sizeof path, "%s.waiting", getenv("PLUGGED"));
	snprintf(next, sizeof next, "%s.next", path);
	FILE *f = fopen(next, "w");
	if (f) {
		fprintf(f, "%lu", ++times);
		fclose(f);
		rename(next, path);
	}
}

long SCardGetStatusChange(long context, unsigned long timeout_ms, pcsc_state *states, unsigned long count)
{
	int before = look().count;
	if (timeout_ms)
		began();
	for (unsigned long waited = 0;; waited += 5) {
		struct plugged p = look();
		int news = 0;
		for (unsigned long i = 0; i < count; i++) {
			pcsc_state *s = &states[i];
			if (!strncmp(s->reader, "\\\\?PnP?", 7)) {
				s->now = p.count == before ? 0 : changed;
			} else {
				int at = find(&p, s->reader);
				s->now = at < 0 ? is_unknown : present;
				s->atr_length = at < 0 ? 0 : p.vacant[at] ? 2 : 3;
				memcpy(s->atr, at >= 0 && p.vacant[at] ? "\x3B\x00" : "\x3B\x01\x42", 3);
				s->now |= (s->known & ~changed) == s->now ? 0 : changed;
			}
			news |= (s->now & changed) != 0;
		}
		if (news || !timeout_ms)
			return 0;
		if (waited >= timeout_ms)
			return timeout;
		usleep(5000);
	}
}

long SCardConnect(long context, const char *reader, unsigned long share, unsigned long protocols, long *card, unsigned long *protocol)
{
	struct plugged p = look();
	int i = find(&p, reader);
	if (i < 0)
		return unknown;
	if (p.held[i])
		return sharing;
	*card = handles++ % MOST;
	strcpy(taken[*card], reader);
	*protocol = 1;
	return 0;
}

static long there(long card)
{
	struct plugged p = look();
	return find(&p, taken[card]) < 0 ? unavailable : 0;
}

long SCardReconnect(long card, unsigned long share, unsigned long protocols, unsigned long how, unsigned long *protocol)
{
	*protocol = 1;
	return there(card);
}

long SCardDisconnect(long card, unsigned long how) { return there(card); }

long SCardStatus(long card, char *name, unsigned long *name_length, unsigned long *state, unsigned long *protocol, unsigned char *atr, unsigned long *atr_length)
{
	static const unsigned char answer[] = {0x3B, 0x00};
	memcpy(atr, answer, sizeof answer);
	*atr_length = sizeof answer;
	return there(card);
}

long SCardTransmit(long card, const pcsc_pci *send, const unsigned char *command, unsigned long length, pcsc_pci *recv, unsigned char *answer, unsigned long *answer_length)
{
	answer[0] = 0x90;
	answer[1] = 0;
	*answer_length = 2;
	return there(card);
}

"""
Programs that rewrite a session in place, as shell scripts: each runs in a directory with s.json, and must leave there what it leaves in a plain one.

`EDITS` and `LATE_EDITS` change the message "count N end"; `REPLACEMENTS` put their own bytes in its place, unread.
"""
import fcntl
import os
import pty
import struct
import sys
import termios

VIM = "vim -Nu NONE -n -es"
COUNT = 's/count [0-9]* end/count $1 end/'

# Names, the program that must be there, the script. "$1" is the new number.
EDITS = [
	("sed -i", "sed", f'sed -i "{COUNT}" s.json'),
	("sed -i.bak", "sed", f'sed -i.bak "{COUNT}" s.json'),
	("sed -i --follow-symlinks", "sed", f'ln -sf s.json link.json; sed -i --follow-symlinks "{COUNT}" link.json'),
	("perl -i", "perl", f'perl -i -pe "{COUNT}" s.json'),
	("perl -i.bak", "perl", f'perl -i.bak -pe "{COUNT}" s.json'),
	("vim", "vim", f'{VIM} -c "%{COUNT}" -c x! s.json'),
	("vim, backupcopy=yes", "vim", f'{VIM} -c "set nobackup writebackup backupcopy=yes" -c "%{COUNT}" -c x! s.json'),
	("vim, backupcopy=no", "vim", f'{VIM} -c "set nobackup writebackup backupcopy=no" -c "%{COUNT}" -c x! s.json'),
	("vim, backup, backupcopy=yes", "vim", f'{VIM} -c "set backup backupcopy=yes" -c "%{COUNT}" -c x! s.json'),
	("vim, backup, backupcopy=no", "vim", f'{VIM} -c "set backup backupcopy=no" -c "%{COUNT}" -c x! s.json'),
	("vim, nowritebackup", "vim", f'{VIM} -c "set nobackup nowritebackup" -c "%{COUNT}" -c x! s.json'),
	("vim with a swap file", "vim", f'vim -Nu NONE -es -c "set directory=. updatecount=1" -c "%{COUNT}" -c x! s.json'),
	("nano", "nano", 'python3 "$TOOLS" nano "$1" s.json'),
	("sed and mv", "sed", f'sed "{COUNT}" s.json > t && mv t s.json'),
]

# Edits whose writer has not itself read what it replaces, or has read it anew just before: others' additions may go, and are in the log.
LATE_EDITS = [
	("sed and sponge", "sponge", f'sed "{COUNT}" s.json | sponge s.json'),
	("sed and cp", "sed", f'sed "{COUNT}" s.json > t.new && cp t.new s.json && rm t.new'),
	("nano with a backup", "nano", 'python3 "$TOOLS" nano "$1" -B s.json'),
	("patch", "patch", f'sed "{COUNT}" s.json | diff -u s.json - > change; patch -s s.json < change; rm change'),
	("patch -b", "patch", f'sed "{COUNT}" s.json | diff -u s.json - | patch -s -b s.json'),
]

# "$SOURCE" is a directory outside with another s.json of the mtime 2020-01-02, which must be in place afterwards.
REPLACEMENTS = [
	("cp", "cp", 'cp "$SOURCE/s.json" s.json'),
	("cp -p", "cp", 'cp -p "$SOURCE/s.json" s.json'),
	("cp --reflink=auto", "cp", 'cp --reflink=auto "$SOURCE/s.json" s.json'),
	("cp --reflink=never --sparse=always", "cp", 'cp --reflink=never --sparse=always "$SOURCE/s.json" s.json'),
	("cp --backup", "cp", 'cp --backup=simple "$SOURCE/s.json" s.json'),
	("cp --remove-destination", "cp", 'cp --remove-destination -p "$SOURCE/s.json" s.json'),
	("cp -a of the directory", "cp", 'cp -a "$SOURCE/." .'),
	("cp inside", "cp", 'cp "$SOURCE/s.json" o.json && cp --reflink=auto o.json s.json'),
	("copy_file_range inside", "python3", 'cp "$SOURCE/s.json" o.json && python3 "$TOOLS" copy_file_range o.json s.json'),
	("sendfile", "python3", 'python3 "$TOOLS" sendfile "$SOURCE/s.json" s.json'),
	("install", "install", 'install -m 600 "$SOURCE/s.json" s.json'),
	("install -p -b", "install", 'install -p -b -m 644 "$SOURCE/s.json" s.json'),
	("rsync", "rsync", 'rsync -a "$SOURCE/" . && test -z "$(rsync -ai "$SOURCE/" .)"'),
	("rsync --inplace", "rsync", 'rsync -a --inplace "$SOURCE/" . && test -z "$(rsync -ai "$SOURCE/" .)"'),
	("rsync --inplace --no-whole-file", "rsync", 'rsync -a --inplace --no-whole-file "$SOURCE/" .'),
	("rsync --no-whole-file --checksum", "rsync", 'rsync -a --no-whole-file --checksum "$SOURCE/" .'),
	("rsync --backup", "rsync", 'rsync -a --backup "$SOURCE/" .'),
	("rsync --delay-updates", "rsync", 'rsync -a --delay-updates "$SOURCE/" .'),
	("tar x", "tar", 'tar -C "$SOURCE" -cf - s.json | tar xf -'),
	("tar x --overwrite", "tar", 'tar -C "$SOURCE" -cf - s.json | tar x --overwrite -f -'),
	("tar x --unlink-first", "tar", 'tar -C "$SOURCE" -cf - s.json | tar x --unlink-first -f -'),
	("unzip", "unzip", '(cd "$SOURCE" && zip -q - s.json) > a.zip && unzip -qo a.zip && rm a.zip'),
	("mv into it", "mv", 'cp -p "$SOURCE/s.json" "$SOURCE/t.json" && mv -f "$SOURCE/t.json" s.json'),
	("dd", "dd", 'dd if="$SOURCE/s.json" of=s.json bs=100 status=none'),
	("truncate and dd conv=notrunc", "dd", 'truncate -s 0 s.json && dd if="$SOURCE/s.json" of=s.json conv=notrunc status=none'),
	("tee", "tee", 'tee s.json < "$SOURCE/s.json" > /dev/null'),
	("cat >", "cat", 'cat "$SOURCE/s.json" > s.json'),
	("ln -sf and cp through it", "cp", 'ln -sf s.json link.json && cp "$SOURCE/s.json" link.json'),
]


# ---- What is no program of its own; `python3 tools.py NAME ARGUMENTS` ---------------------------------------------

def copy_file_range(source, target):
	with open(source, "rb") as a, open(target, "wb") as b:
		while os.copy_file_range(a.fileno(), b.fileno(), 700):
			pass


def sendfile(source, target):
	with open(source, "rb") as a, open(target, "wb") as b:
		while os.sendfile(b.fileno(), a.fileno(), None, 700):
			pass


def nano(number, *arguments):
	"""Cuts line 4, types it anew, saves, leaves."""
	pid, fd = pty.fork()
	if pid == 0:
		os.environ["TERM"] = "vt100"
		fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
		os.execvp("nano", ["nano", "--ignorercfiles", "+4", *arguments])
	for wanted, keys in ((b"Read ", b"\x0b"), (b"odified", b'    "content": "count %s end"\r' % number.encode()), (b"end", b"\x0f"), (b"Write", b"\r"),
			     (b"Wrote", b"\x18")):
		expect(fd, wanted)		# nano shows that it is ready for the next key
		os.write(fd, keys)
	drain(fd)
	_, status = os.waitpid(pid, 0)
	sys.exit(os.waitstatus_to_exitcode(status))


def expect(fd, wanted):
	seen = b""
	while wanted not in seen:
		piece = os.read(fd, 4096)
		if not piece:
			sys.exit(f"nano ended, waiting for {wanted}: {seen}")
		seen += piece


def drain(fd):
	try:
		while os.read(fd, 4096):
			pass
	except OSError:		# EIO: it has left
		pass


if __name__ == "__main__":
	{"copy_file_range": copy_file_range, "sendfile": sendfile, "nano": nano}[sys.argv[1]](*sys.argv[2:])

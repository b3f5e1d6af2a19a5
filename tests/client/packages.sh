# Saves by programs that are started anew each time: sh packages.sh KIND FILE WRITER SAVES. See packages.py for what is said on the pipes.
kind=$1 file=$2 writer=$3 saves=$4
scripts=$(dirname "$0")

# vim and perl -i keep one message a line.
save() {
	message="{\"role\": \"user\", \"content\": \"$1\"}"
	case $kind in
	jq) jq ". + [$message]" "$file" >"$file.$writer" && mv "$file.$writer" "$file" ;;
	sponge) jq ". + [$message]" "$file" | sponge "$file" ;;
	perl) MESSAGE=$message perl -0777 -i -pe 's/(\})?\n\]\n\z/($1 ? "$1,\n" : "\n") . "$ENV{MESSAGE}\n]\n"/e or die "not a list\n"' "$file" ;;
	vim) echo y | MESSAGE=$message vim -es -u NONE -i NONE -n --cmd 'set nocompatible backupskip=' -S "$scripts/packages.vim" "$file" ;;
	vim-in-place) echo y | MESSAGE=$message vim -es -u NONE -i NONE -n --cmd 'set nocompatible backupskip= nobackup nowritebackup' -S "$scripts/packages.vim" "$file" ;;
	vim-yes) echo y | MESSAGE=$message vim -es -u NONE -i NONE -n --cmd 'set nocompatible backupskip= backupcopy=yes' -S "$scripts/packages.vim" "$file" ;;
	esac
}

echo ready
read -r go
n=0
while [ "$n" -lt "$saves" ]; do
	if said=$(save "$writer:$n; from a shell, über alles, 你好" 2>&1); then echo "$writer $n"; else echo "! $said" | tr -s '[:cntrl:]' ' '; echo; fi
	n=$((n + 1))
done

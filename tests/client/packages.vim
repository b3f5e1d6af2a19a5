" One save of a person's: vim -es -S packages.vim FILE, with the message in $MESSAGE, one message a line. $MEANWHILE is a command to run between
" reading and writing; "y" on standard input is the answer when vim asks whether to write a file that has changed.
try
	if line('$') < 2
		call setline(1, ['[', ']'])
	endif
	if line('$') > 2
		call setline(line('$') - 1, getline(line('$') - 1) . ',')
	endif
	call append(line('$') - 1, $MESSAGE)
	if $MEANWHILE != ''
		call system($MEANWHILE)
	endif
	write!
catch
	verbose echo v:exception
	cquit
endtry
qall!

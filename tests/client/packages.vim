" One save of a person's: vim -es -S packages.vim FILE, with the message in $MESSAGE. One message a line.
try
	if line('$') < 2
		call setline(1, ['[', ']'])
	endif
	if line('$') > 2
		call setline(line('$') - 1, getline(line('$') - 1) . ',')
	endif
	call append(line('$') - 1, $MESSAGE)
	write!
catch
	verbose echo v:exception
	cquit
endtry
qall!

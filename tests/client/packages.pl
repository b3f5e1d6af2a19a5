# Saves of Perl programs: perl packages.pl KIND FILE WRITER SAVES. See packages.py for what is said on the pipes.
use strict;
use warnings;
use utf8;
use autodie;
use Fcntl qw(:flock SEEK_SET);
use IO::Handle;
use JSON::PP;

my ($kind, $file, $writer, $saves) = @ARGV;
my $json = JSON::PP->new->utf8->pretty;

sub add {
	my ($data, $content) = @_;
	my $list = length $data ? $json->decode($data) : [];
	push @$list, { role => 'user', content => $content };
	return $json->encode($list);
}

my %kinds = (
	'open' => sub {
		my ($content) = @_;
		my $data = '';
		if (-e $file) {
			open my $in, '<', $file;
			local $/;
			$data = <$in> // '';
			close $in;
		}
		open my $out, '>', $file;
		print $out add($data, $content);
		close $out;
	},
	'flock' => sub {
		my ($content) = @_;
		open my $f, -e $file ? '+<' : '+>>', $file;
		flock $f, LOCK_EX;
		seek $f, 0, SEEK_SET;
		local $/;
		my $data = add(<$f> // '', $content);
		truncate $f, 0;
		seek $f, 0, SEEK_SET;
		print $f $data;
		close $f;
	},
);

STDOUT->autoflush;
print "ready\n";
scalar <STDIN>;
for my $n (0 .. $saves - 1) {
	if (eval { $kinds{$kind}->("$writer:$n; from Perl, über alles, 你好"); 1 }) {
		print "$writer $n\n";
	} else {
		my $text = substr "$@", 0, 200;
		utf8::encode($text);
		print '! ', $text =~ tr/\n/ /r, "\n";
	}
}

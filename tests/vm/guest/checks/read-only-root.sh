# Makes the root file system read-only from the next boot.
sed -i 's/ defaults / ro /' /etc/fstab
succeeds 'the root is read-only from the next boot' grep ' / ext4 ro ' /etc/fstab

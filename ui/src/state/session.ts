/**
 * Who asks, where the server wants to know. The token goes to the server once; what stays is a cookie
 * that no script can read, so that the page remembers by itself whether it is signed in.
 */
import { signal } from '@preact/signals';
import { failure, onSignInWanted, PATH_PREFIX, reach } from '../api/fetch';

const REMEMBERED = 'decima.signed-in';
const ADDRESS = `${PATH_PREFIX}/api/session`;

const recall = (): boolean => {
  try {
    return localStorage.getItem(REMEMBERED) !== null;
  } catch {
    return false;
  }
};
const remember = (signedIn: boolean): void => {
  try {
    if (signedIn) localStorage.setItem(REMEMBERED, 'yes');
    else localStorage.removeItem(REMEMBERED);
  } catch {
    // Storage may be forbidden; then there is no button to sign out.
  }
};

/** The server refuses to answer before somebody signs in. */
export const signInNeeded = signal(false);
/** Somebody signed in here, and nothing says that it is over. */
export const signedIn = signal(recall());

onSignInWanted(() => {
  signInNeeded.value = true;
  signedIn.value = false;
  remember(false);
});

/** Shows a token to the server. Then the page begins anew: everything it asked for was refused. */
export async function signIn(token: string): Promise<void> {
  const response = await reach(ADDRESS, { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  if (!response.ok) throw await failure(response);
  remember(true);
  location.reload();
}

/** Gives the cookie back. */
export async function signOut(): Promise<void> {
  await reach(ADDRESS, { method: 'DELETE' });
  remember(false);
  location.reload();
}

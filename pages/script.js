{# Plain JavaScript. Words come from data- attributes, so these bytes never vary (CSP hash). Comments vanish when rendered. #}
(()=>{
const D=document,H=D.documentElement,$=(s,r=D)=>r.querySelector(s),$$=(s,r=D)=>r.querySelectorAll(s),
w=k=>D.body.dataset[k],fill=(p,o)=>p.replace(/\{(\w+)\}/g,(_,k)=>o[k]),
num=s=>(''+s).replace(/\d/g,c=>w('digits')[c]),rnd=n=>Math.random()*n,
bit=(k,v)=>{try{return v===void 0?sessionStorage.getItem('backsoon-'+k):sessionStorage.setItem('backsoon-'+k,v)}catch{}},
fresh=$('#fresh'),mark=$('#now'),btn=$('#pause'),say=$('#say');
let skew,es,poller,wait,leave,sleep,seen,at,turns=0,paused=bit('paused')==1;
const
{# skew to the server's clock once known; until then the visitor's clock counts, unless the page was made later #}
sync=t=>{if(t)skew=t-Date.now()},
{# same wording as the server: whole minutes, then hours, then days #}
span=m=>{const h=m/60|0,d=h/24|0,x=m<1?'z':h<1?'m':d<1?(m%60?'h':'h0'):h%24?'d':'d0';return fill(w('s'+x),{m:num(d<1?m%60:m),h:num(d<1?h:h%24),d:num(d)})},
{# time on the visitor's clock, with the day if that is not today or differs from the day in UTC #}
clock=t=>{const d=new Date(t),o={hour:'2-digit',minute:'2-digit',hourCycle:'h23'};
if(d.getDate()!=d.getUTCDate()||d.toDateString()!=new Date().toDateString())o.day='numeric',o.month='short';
try{return num(d.toLocaleString((H.lang=='en'?'en-GB':H.lang)+'-u-nu-latn',o))}catch{return num(d.toLocaleString([],o))}},
local=(t,m)=>new Date(t).getTimezoneOffset()?fill(w('local'),{clock:clock(t)+(m?' – '+clock(m):'')}):clock(t)+' UTC',
{# relative words and local times, on the page or on a fetched copy before it is merged #}
tick=r=>{const n=Date.now()+skew,put=(e,s)=>{if(e.textContent!=s)e.textContent=s};
for(const e of $$('[data-k]',r)){const s=(Date.parse(e.dataset.t)-n)/6e4,k=e.dataset.k;
if(k=='since')put(e,span(Math.max(0,Math.floor(-s))));
else if(k=='due'){if(s<=0)put(e,e.dataset.late)}
else put(e,s>0?fill(w('about'),{span:span(Math.ceil(s))}):e.dataset.late)}
for(const e of $$('[data-l]',r)){const{l,m}=e.dataset;put(e,new Date(l).getTimezoneOffset()?local(l,m):'')}},
show=(is,t)=>{mark.dataset.is=is;$('.w',mark).textContent=w(is);if(fresh.textContent!=t)fresh.textContent=t},
good=()=>{seen=at=Date.now();if(!paused&&!leave)show('live',fill(w('fresh'),{clock:local(at)}))},
bad=()=>{if(!paused&&!leave)show('off',fill(w('stale'),{clock:local(at)}))},
{# merge b into a: only what differs is touched, so focus, scroll and selection stay #}
merge=(a,b)=>{
if(a.nodeName!=b.nodeName)return a.replaceWith(b);
if(a.nodeType!=1){if(a.data!=b.data)a.data=b.data;return}
if(a.dataset.keep!=null)return;
for(const{name:n}of[...a.attributes])b.hasAttribute(n)||a.removeAttribute(n);
for(const{name:n,value:v}of b.attributes)a.getAttribute(n)!=v&&a.setAttribute(n,v);
let x=a.firstChild,n;
for(const y of[...b.childNodes]){
const k=y.id&&[...a.children].find(e=>e.id==y.id);
{# nodes before k were removed, unless the order has changed #}
if(k&&x&&x.compareDocumentPosition(k)&4)for(;x!=k;x=n){n=x.nextSibling;x.remove()}
if(k&&x!=k){a.insertBefore(k,x);merge(k,y);continue}
if(k||!y.id&&x&&!x.id){n=x.nextSibling;merge(x,y);x=n}else a.insertBefore(y,x)}
for(;x;x=n){n=x.nextSibling;x.remove()}},
tell=t=>say.textContent=t,
{# load the page again by GET, since a reload would send a form again. Replacing a URL with a `#` by itself only scrolls, so change the URL first #}
go=k=>{bit(k,Date.now());const l=location.href;let u=l.split('#')[0];
if(u!=l)try{history.replaceState(null,'',u+(u.includes('?')?'&':'?'));u=l}catch{}
location.replace(u)},
lately=k=>Date.now()-bit(k)<6e4,
load=async()=>{
const r=await fetch(H.dataset.status+location.pathname,{headers:{Accept:'text/html'},cache:'no-store'});
if(!(r.headers.get('content-type')||'').startsWith('text/html'))return(await r.json()).phase=='open'?back():0;
const n=new DOMParser().parseFromString(await r.text(),'text/html'),h=n.documentElement;
if(paused)return;
if(!h.dataset.version)throw 0;
sync(Date.parse(r.headers.get('date')));good();
if(h.dataset.version==H.dataset.version)return;
{# a new page comes in one language first; others may follow in a moment #}
if(h.lang!=H.lang&&turns++<9){clearTimeout(wait);wait=setTimeout(pull,500+rnd(1e3));return}
turns=0;
{# new software or colours: the policy forbids swapping them in place; once a minute, since replicas may differ for a while #}
for(const s of['style','script'])if($(s,n).textContent!=$(s).textContent){
if(!lately('swap'))return go('swap');
clearTimeout(wait);wait=setTimeout(pull,6e4);return}
tick(n);
const o=$('main').dataset.step;
for(const{name:k,value:v}of h.attributes)H.setAttribute(k,v);
D.title=n.title;merge(D.body,n.body);
const s=$('main').dataset.step;if(s&&s!=o)tell(s)},
pull=()=>load().catch(bad),
poll=()=>{stop();poller=setTimeout(async()=>{await pull();if(poller&&!paused)poll()},3e4+rnd(15e3))},
stop=()=>{if(es)es.close();es=0;clearTimeout(poller);clearTimeout(wait);poller=wait=0},
{# open again: say so, then reload; never in a tight loop #}
back=()=>{if(leave||paused)return;stop();tell(w('back'));show('live',w('back'));
leave=setTimeout(()=>go('left'),rnd(5e3)+(lately('left')?3e4:0))},
open=()=>{stop();if(paused||leave)return;seen=Date.now();
es=new EventSource(H.dataset.events+location.pathname);
es.onerror=()=>{bad();if(es&&es.readyState==2)poll()};
es.addEventListener('beat',good);
es.addEventListener('clock',e=>{sync(JSON.parse(e.data).now);tick()});
es.addEventListener('open',e=>e.data&&back());
es.addEventListener('page',e=>{good();clearTimeout(wait);
if(JSON.parse(e.data).version!=H.dataset.version)wait=setTimeout(pull,rnd(2e3))})},
set=p=>{paused=p;bit('paused',p?1:0);btn.textContent=w(p?'resume':'pause');
if(p){stop();clearTimeout(leave);leave=0;show('paused',fill(w('fresh'),{clock:local(at)}))}else{show('live',fresh.textContent);tick();open()}},
{# a tab that nobody sees lets go: over HTTP/1.1, six streams of a host would keep the seventh tab from loading #}
look=()=>{clearTimeout(sleep);
if(D.hidden)sleep=setTimeout(stop,6e4);else if(!paused){tick();if(!es)open()}};
skew=Math.max(0,Date.parse(H.dataset.now)-Date.now());at=Date.now();tick();
btn.hidden=false;btn.onclick=()=>set(!paused);
setInterval(()=>{if(paused)return;tick();if(es&&Date.now()-seen>4e4)bad()},1e4);
D.addEventListener('visibilitychange',look);
{# the Refresh header is for clients without script; stop() cancels it once loading is over #}
addEventListener('load',()=>setTimeout(()=>{window.stop();set(paused);look()}));
})()
